"""A row of verl as a sample of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from rrm_reward.judge import render_query


@dataclass(frozen=True, slots=True)
class Sample:
    """One rollout on its way to its group.

    Attributes:
        group: verl's uid, one per row of a batch: two rows with the same prompt are two groups.
        slot: position in the group where verl says it (``session_id``, 0.9), else None: the hub gives out slots in
            order of arrival, which is as good as any, since brackets are drawn at random.
        token: names this sample in every call about it, so that a repeated call joins the first.
        query: the prompt, as the judge reads it.
        text: the response.
        size: members of the group.
        step: verl's global step, -1 if unknown.
    """

    group: str
    slot: int | None
    token: str
    query: str
    text: str
    size: int
    step: int = -1


def read_sample(row: Mapping[str, Any], text: str, query: str, rollouts: int) -> Sample:
    """From a row's non-tensor fields.

    Args:
        row: as verl passes it: ``uid``, on 0.9 also ``session_id`` and ``global_steps``.
        text: the decoded response.
        query: see `read_query`.
        rollouts: members of a group where the row does not say it.
    """
    session, steps = row.get("session_id"), row.get("global_steps")
    return Sample(
        group=str(row["uid"]),
        slot=None if session is None else int(session),
        token=uuid4().hex,
        query=query,
        text=text,
        size=int(row.get("__rollout_n__", rollouts)),
        step=-1 if steps is None else int(steps),
    )


def read_query(row: Mapping[str, Any]) -> str | None:
    """The messages of ``raw_prompt`` as one text; None if the row has none.

    Raises:
        InputError: messages that cannot be read.
    """
    messages = row.get("raw_prompt")
    return None if messages is None else render_query(messages)


def reference_of(row: Mapping[str, Any]) -> str | None:
    """The reference answer of a validation row, None if there is none. Never called on a training row."""
    node = row.get("reward_model")
    answer = node.get("ground_truth") if isinstance(node, Mapping) else None
    return str(answer) if answer is not None and str(answer).strip() else None
