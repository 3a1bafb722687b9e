"""The chat that a scalar reward model reads: the query's messages, and the response as the assistant's answer."""

from __future__ import annotations

from collections.abc import Sequence

from rrm_reward.judge import Message, render_query
from rrm_reward.types import Query


def chat_of(query: Query, response: str) -> list[Message]:
    """The messages, in the layout of Skywork-Reward.

    Args:
        query: a text is one user message; chat messages of plain texts stay turns, and anything else (parts, tool
            calls) is rendered into one user message, as the RRM reads it.
        response: what is scored.
    """
    return [*_turns(query), {"role": "assistant", "content": response}]


def _turns(query: Query) -> Sequence[Message]:
    if isinstance(query, str):
        return [{"role": "user", "content": query}]
    turns: list[Message] = []
    for message in query:
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str) or not isinstance(content, str):
            return [{"role": "user", "content": render_query(query)}]
        turns.append({"role": role, "content": content})
    return turns
