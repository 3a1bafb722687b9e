"""A pair, and the row that verl reads: exactly the prompt that the judge will be asked with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rrm_reward.judge import Message, build_messages, neutralise, render_query
from rrm_reward.types import Query


@dataclass(frozen=True, slots=True)
class Pair:
    """Two responses to one query, the better one known.

    Attributes:
        source: name of the set, as in ``data_source``.
        id: of the row in its source; the same for every pair made of it.
        query: text or chat messages.
        better: the better response.
        worse: the other one.
    """

    source: str
    id: str
    query: Query
    better: str
    worse: str


def prompt_of(
    pair: Pair, first_is_better: bool, view: Callable[[str], str], special_tokens: frozenset[str]
) -> list[Message]:
    """The messages of `rrm_reward.judge.Judge` on this pair in this order, what is untrusted in it neutralised.

    Args:
        pair: any.
        first_is_better: whether the better response is Assistant 1.
        view: what a judge sees of a response (`rrm_reward.judge.make_view`).
        special_tokens: of the judge's tokenizer, beyond the usual ones.
    """
    first, second = (pair.better, pair.worse) if first_is_better else (pair.worse, pair.better)
    query = neutralise(render_query(pair.query), special_tokens)
    return build_messages(query, view(first), view(second))


def verl_row(
    pair: Pair, prompt: list[Message], *, first_is_better: bool, split: str, index: int
) -> dict[str, Any]:
    """One row as verl's datasets read it; the ground truth is the better assistant, ``"1"`` or ``"2"``.

    Args:
        pair: what the prompt was made of.
        prompt: of `prompt_of`, in the same order.
        first_is_better: whether the better response is Assistant 1.
        split: "train" or the name of a held-out part.
        index: position in the output.
    """
    return {
        "data_source": pair.source,
        "prompt": [dict(message) for message in prompt],
        "ability": "judging",
        "reward_model": {"style": "rule", "ground_truth": "1" if first_is_better else "2"},
        "extra_info": {"split": split, "index": index, "id": pair.id},
    }


def preference_row(pair: Pair, shown: Callable[[str], str]) -> dict[str, Any]:
    """The same pair as TRL's reward and DPO trainers read it: conversational ``prompt``, ``chosen``, ``rejected``.

    Args:
        pair: any.
        shown: what is written of a response; a scalar judge that will read final answers is to learn on them.
    """
    asked = [{"role": "user", "content": pair.query}] if isinstance(pair.query, str) else pair.query
    return {
        "prompt": [{"role": message["role"], "content": message["content"]} for message in asked],
        "chosen": [{"role": "assistant", "content": shown(pair.better)}],
        "rejected": [{"role": "assistant", "content": shown(pair.worse)}],
        "source": pair.source,
        "id": pair.id,
    }
