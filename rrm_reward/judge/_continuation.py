"""The OpenAI completions protocol, as vLLM extends it, as bytes: from token ids to the likeliest next tokens.

vLLM (0.10.2 and later) tells the ids of prompt and completion when it is asked to (``return_token_ids``), and takes ids
as the prompt of ``/v1/completions``. Continuing ids is exact: chat templates of the DeepSeek-R1 family drop what stands
before ``</think>`` from an assistant's message, so that ``continue_final_message`` fails with the very judge this is
for, and a text that is tokenised again may turn what a response quotes into control tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

TOP = 20
"""Tokens whose log-probabilities are asked for: as many as vLLM allows by default."""


def encode_tokens_of(model: str, text: str) -> bytes:
    """A request whose answer tells the token ids of a text."""
    return _encode(model, text, return_token_ids=True, add_special_tokens=False)


def decode_prompt_ids(payload: bytes) -> tuple[int, ...]:
    """The token ids of a request's prompt.

    Raises:
        ValueError: the answer does not tell them.
    """
    choice = _choice(payload)
    ids = choice.get("prompt_token_ids")
    if not ids or not all(isinstance(id, int) for id in ids):
        raise ValueError("no prompt_token_ids in the answer")
    return tuple(ids)


def encode_next_token(model: str, ids: Sequence[int]) -> bytes:
    """A request for what comes after these token ids."""
    return _encode(model, list(ids), logprobs=TOP)


def decode_next_token(payload: bytes) -> Mapping[str, float]:
    """Log-probabilities of the likeliest next tokens, by their text.

    Raises:
        ValueError: the answer does not tell them.
    """
    try:
        top = _choice(payload)["logprobs"]["top_logprobs"][0]
        return {str(token): float(value) for token, value in top.items()}
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"no log-probabilities in the answer: {payload[:200]!r}") from error


def _encode(model: str, prompt: str | list[int], **fields: Any) -> bytes:
    return orjson.dumps({"model": model, "prompt": prompt, "max_tokens": 1, "temperature": 0.0, **fields})


def _choice(payload: bytes) -> dict[str, Any]:
    try:
        choice = orjson.loads(payload)["choices"][0]
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"not a completion: {payload[:200]!r}") from error
    if not isinstance(choice, dict):
        raise ValueError(f"not a completion: {payload[:200]!r}")
    return choice
