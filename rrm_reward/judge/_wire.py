"""The OpenAI chat protocol as bytes: a request's body, an answer's completions, and what a status means.

Pure functions, so that every oddity of a server is a line in a table and a test without a socket.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from rrm_reward.judge._backend import Completion, Message, Sampling


class Fault(enum.Enum):
    """What a failed request says about the replica, and what to do next."""

    DEAD = "dead"
    """Nobody answers there: put it aside at once. The request was not sent, so no retry is spent."""
    BUSY = "busy"
    """It asks for patience (429, 503): wait as it says, spend no retry; the deadline bounds the waiting."""
    MISPLACED = "misplaced"
    """It is another server than we think (wrong key, model not served): put it aside, retry elsewhere."""
    BROKEN = "broken"
    """It failed at this request (5xx, cut connection, timeout, nonsense): retry elsewhere."""
    REFUSED = "refused"
    """It understood and declines (400, 422): no server would do it, so nothing is retried."""


def fault_of(status: int) -> Fault:
    """What an HTTP status other than 200 means."""
    if status in (429, 503):
        # llama.cpp and SGLang answer 503 while they load the model, at which time /models is served already.
        return Fault.BUSY
    if status >= 500 or status == 408:
        return Fault.BROKEN
    if status in (401, 403, 404, 405) or status < 400:
        return Fault.MISPLACED
    return Fault.REFUSED


class RequestEncoder:
    """Writes the JSON bodies of one backend's requests.

    Args:
        model: served model name.
        extra: further fields, which have the last word on every field.
    """

    def __init__(self, model: str, extra: Mapping[str, Any]) -> None:
        self._model = model
        self._extra = dict(extra)

    def encode(
        self, messages: Sequence[Message], n: int, sampling: Sampling, seed: int | None = None
    ) -> bytes:
        """The body of a request for n completions; `seed` stands for that of the sampling.

        What Unicode cannot encode (half of a surrogate pair) becomes a question mark.
        """
        body: dict[str, Any] = {
            "messages": messages,
            "model": self._model,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
        }
        if seed is not None:
            body["seed"] = seed
        if n > 1:
            body["n"] = n
        if sampling.continuable:
            body["return_token_ids"] = True
        body.update(self._extra)
        try:
            return orjson.dumps(body)
        except TypeError:
            return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")


def decode_answer(payload: bytes) -> list[Completion]:
    """The completions of an answer with status 200.

    A server counts completion tokens over all choices together: they are shared out evenly, the sum being
    exact.

    Raises:
        ValueError: this is not a chat completion with at least one choice.
    """
    body = orjson.loads(payload)
    try:
        choices = body["choices"]
        usage = body.get("usage") or {}
        prompt_tokens = usage.get("prompt_tokens") or 0
        share, rest = divmod(usage.get("completion_tokens") or 0, len(choices))
        prompt_ids = body.get("prompt_token_ids") or ()
        completions = []
        for choice in choices:
            message = choice["message"]
            completions.append(
                Completion(
                    _text(message.get("content")),
                    str(choice.get("finish_reason") or "stop"),
                    prompt_tokens,
                    share + rest,
                    message.get("reasoning_content") or message.get("reasoning") or None,
                    _sequence(prompt_ids, choice) if prompt_ids else (),
                )
            )
            prompt_tokens = rest = 0
    except (KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise ValueError(f"not a chat completion: {payload[:200]!r}") from error
    return completions


def _sequence(prompt_ids: Sequence[int], choice: Mapping[str, Any]) -> tuple[int, ...]:
    """Token ids of prompt and completion, of a choice that could be continued."""
    ids = choice.get("token_ids") if choice.get("finish_reason") == "length" else None
    return (*prompt_ids, *ids) if ids else ()


def _text(content: object) -> str:
    """Content is a string, null (all was reasoning, or nothing), or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content)
    return ""


def decode_models(payload: bytes) -> dict[str, int | None]:
    """Served model names, and their context lengths where the server tells.

    That is ``max_model_len`` of vLLM and SGLang.

    Raises:
        ValueError: this is not a list of models.
    """
    body = orjson.loads(payload)
    try:
        return {card["id"]: card.get("max_model_len") for card in body["data"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a list of models: {payload[:200]!r}") from error


def retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header; None without one, and for a date (which needs a common clock).

    None for 0 as well: busy retries have no other bound than the deadline, and none in between would be a flood.
    """
    try:
        seconds = float(value) if value is not None else None
    except ValueError:
        return None
    return seconds if seconds is not None and 0 < seconds < float("inf") else None
