"""TRL's arguments as rows, whatever form the dataset has.

Plain data has strings for prompts and completions; conversational data has lists of messages. A completion is what
its last assistant message says (with tools there are several), its reasoning in front where TRL has parsed it out.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rrm_reward.types import Query


@dataclass(frozen=True, slots=True)
class Row:
    """One rollout.

    Attributes:
        query: the prompt as TRL passed it: text, or messages.
        text: the response; None if it holds no text, as a member that failed.
    """

    query: Query
    text: str | None


def read_rows(prompts: Sequence[Any], completions: Sequence[Any]) -> list[Row]:
    """One row a rollout, in TRL's order. Never raises, whatever a completion holds: other processes wait for it."""
    return [
        Row(prompt, _text(completion)) for prompt, completion in itertools.zip_longest(prompts, completions)
    ]


def read_keys(column: Any, count: int) -> list[str | None]:
    """The prompt ids of the rows as text; None where the dataset has no such column.

    Args:
        column: what TRL passed under the column's name, or None.
        count: number of rows.
    """
    if column is None or len(column) != count:
        return [None] * count
    return [None if value is None else str(value) for value in column]


def _text(completion: Any) -> str | None:
    if isinstance(completion, str):
        return completion
    if not isinstance(completion, Sequence):
        return None
    said = [message for message in completion if isinstance(message, Mapping)]
    if not said or len(said) < len(completion):
        return None
    assistant = [message for message in said if message.get("role") == "assistant"]
    last = assistant[-1] if assistant else said[-1]
    content = _content(last.get("content"))
    reasoning = last.get("reasoning_content")
    if content is not None and isinstance(reasoning, str) and reasoning:
        return f"<think>{reasoning}</think>{content}"
    return content


def _content(content: Any) -> str | None:
    """The text of a message; a list of parts is its text parts, one a line."""
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        parts = [part["text"] for part in content if isinstance(part, Mapping) and "text" in part]
        return "\n".join(map(str, parts)) if parts else None
    return None
