"""Completions from any OpenAI-compatible chat server (vLLM, SGLang, llama.cpp), one or many replicas of it.

The HTTP client is our own (`_client`), for the CPU of a call; `python -m benchmarks.transport` compares it with
aiohttp's. What a request goes through:

    body (once) -> replica with the fewest pending -> answer
                         ^                              |
                         '--- pause <--- retry <--- fault

Time is bounded three ways. One try may take `timeout`. All tries of one request together, with the pauses
between them and the waiting for a replica to come back, may take `PATIENCE` times that, however many retries
are left: so a server that is restarted in the middle of a run loses nothing, and one that hangs is given up.
And a retry is spent on each try that reached a server and failed; being refused a connection or asked for
patience (429, 503) spends none.

Replicas that fail are put aside and probed (``GET /models``) until they serve the model again; see
`_routing`. A judge that is down altogether is waited for as long as one request lasts, once: after that,
requests fail at once until a probe finds it again, and a dead judge costs a run minutes and not a day.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from rrm_reward.errors import ConfigError
from rrm_reward.judge._backend import BackendError, Completion, Message, Sampling
from rrm_reward.judge._continuation import (
    decode_next_token,
    decode_prompt_ids,
    encode_next_token,
    encode_tokens_of,
)
from rrm_reward.judge._fleet import Failed, Fleet
from rrm_reward.judge._routing import Replica
from rrm_reward.judge._wire import Fault, RequestEncoder, decode_answer

PATIENCE = 3
"""Timeouts that one request may last in all: two answers in a row may be too slow, the third may not."""

CHAT, COMPLETIONS = "/chat/completions", "/completions"

T = TypeVar("T")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 8.0


class _Declined(BackendError):
    """The server understood the request and will not do it (400, 422)."""


class OpenAIBackend:
    """A `Backend` over HTTP. Belongs to the event loop that first uses it.

    Args:
        urls: base URLs of the replicas, each ending in ``/v1``.
        model: served model name.
        api_key: sent as a bearer token, never logged.
        timeout: seconds of one try; see the module's text for what bounds the whole.
        retries: further tries after one that failed.
        extra_body: further fields of every request, as the server takes them.
        context_tokens: the judge's context length; None asks the servers.
        seed: of the jitter of pauses.
        probe_wait: seconds before a replica that was put aside is probed first.
        sleep: waits some seconds between retries; tests give their own.
    """

    def __init__(
        self,
        urls: Sequence[str],
        model: str,
        *,
        api_key: str | None = None,
        timeout: float = 600.0,
        retries: int = 3,
        extra_body: Mapping[str, Any] | None = None,
        context_tokens: int | None = None,
        seed: int = 0,
        probe_wait: float = 0.5,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._patience = PATIENCE * timeout
        self._fleet = Fleet(
            urls, model, api_key=api_key, timeout=timeout, outage=self._patience, probe_wait=probe_wait
        )
        self._retries = retries
        self._model = model
        self._encoder = RequestEncoder(model, extra_body or {})
        self._endings: dict[str, tuple[int, ...]] = {}
        self._context_tokens = context_tokens
        self._random = random.Random(seed)
        self._sleep = sleep
        self._one_choice = False
        self._started = False
        self._starting = asyncio.Lock()

    @property
    def context_tokens(self) -> int | None:
        """The judge's context length (the smallest of all replicas), None if unknown; known after `start`."""
        return self._context_tokens

    @property
    def patience(self) -> float:
        """Seconds after which a request has an answer or has given up; `complete` makes up to 3 in a row."""
        return self._patience

    async def start(self) -> None:
        """See `Backend.start`. Replicas that are down are a warning, as long as one is up.

        A start that failed may be tried again; until one succeeds, every request fails at once.
        """
        async with self._starting:
            if self._started:
                return
            try:
                told = await self._fleet.check()
            except BaseException:
                await self._fleet.aclose()
                raise
            self._context_tokens = self._context_tokens or told
            self._started = True

    async def aclose(self) -> None:
        """See `Backend.aclose`. Requests in flight fail, and others until the next `start`."""
        self._started = False
        await self._fleet.aclose()

    async def complete(self, messages: Sequence[Message], n: int, sampling: Sampling) -> list[Completion]:
        """See `Backend.complete`. A server that gives one choice whatever n says is asked n times."""
        if n == 1:
            return await self._ask(messages, 1, sampling)
        completions: list[Completion] = []
        if not self._one_choice:
            try:
                completions = await self._ask(messages, n, sampling)
            except _Declined:
                # Perhaps it was n that the server declined; if not, this is declined as well.
                completions = await self._ask(messages, 1, sampling)
            self._one_choice = len(completions) == 1
        if len(completions) == n:
            return completions
        rest = (self._ask(messages, 1, sampling, offset) for offset in range(len(completions), n))
        answers = await asyncio.gather(*rest, return_exceptions=True)
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        for failure in failures:
            if not isinstance(failure, BackendError) or len(failures) == n:
                raise failure
        return completions + [c for answer in answers if isinstance(answer, list) for c in answer]

    async def _ask(
        self, messages: Sequence[Message], n: int, sampling: Sampling, offset: int = 0
    ) -> list[Completion]:
        """One request with its retries; `offset` keeps the seeds of requests apart that share a sampling."""
        seed = None if sampling.seed is None else sampling.seed + offset
        body = self._encoder.encode(messages, n, sampling, seed)
        return (await self.exchange(CHAT, body, decode_answer))[:n]

    async def prepare(self, endings: Sequence[str]) -> None:
        """See `ContinuingBackend.prepare`: asks for the token ids of the endings."""
        for ending in endings:
            if ending not in self._endings:
                body = encode_tokens_of(self._model, ending)
                try:
                    self._endings[ending] = await self.exchange(COMPLETIONS, body, decode_prompt_ids)
                except BackendError as error:
                    fix = f"the judge gives no token ids, which vLLM does since 0.10.2 ({error}); leave it at none"
                    raise ConfigError("judge.force", "truncated", fix) from error

    async def next_token(self, completion: Completion, ending: str) -> Mapping[str, float]:
        """See `ContinuingBackend.next_token`."""
        if not completion.sequence:
            raise BackendError("the server sent no token ids with its completion")
        body = encode_next_token(self._model, (*completion.sequence, *self._endings[ending]))
        return await self.exchange(COMPLETIONS, body, decode_next_token)

    async def exchange(self, path: str, body: bytes, decode: Callable[[bytes], T]) -> T:
        """What the answer to one request to this path below the base URL says, after retries.

        Raises:
            BackendError: there is no answer.
        """
        loop = self._fleet.open()
        deadline = loop.time() + self._patience
        tried: list[Replica] = []
        tries = pauses = 0
        reason = "every replica is down"
        while True:
            began = loop.time()
            remaining = deadline - began
            if remaining <= 0:
                raise BackendError(f"no answer within {self._patience:g} s; last: {reason}")
            replica = self._fleet.acquire(tried)
            if replica is None:
                try:
                    await self._fleet.until_back(remaining)
                except TimeoutError:
                    raise BackendError(f"no replica came back in time; last: {reason}") from None
                continue
            try:
                answer = await self._try(replica, path, body, decode, remaining)
            except Failed as failed:
                self._fleet.failed(replica, failed, began)
                reason = f"{replica.name}: {failed}"
                if failed.fault is Fault.REFUSED:
                    raise _Declined(reason) from failed
                tries += failed.fault in (Fault.BROKEN, Fault.MISPLACED)
                if tries > self._retries:
                    raise BackendError(f"failed {tries} times; last: {reason}") from failed
                tried.append(replica)
                if failed.fault is Fault.DEAD or self._fleet.has_other(tried):
                    continue
                tried, pauses = [replica], pauses + 1
                pause = self._pause(failed.wait, pauses)
                if loop.time() + pause >= deadline:
                    raise BackendError(f"no time is left to retry; last: {reason}") from failed
                await self._sleep(pause)
            except BaseException:
                self._fleet.release(replica)
                raise
            else:
                self._fleet.succeeded(replica)
                return answer

    async def _try(
        self, replica: Replica, path: str, body: bytes, decode: Callable[[bytes], T], seconds: float
    ) -> T:
        payload = await self._fleet.post(replica, path, body, seconds)
        try:
            return decode(payload)
        except ValueError as error:
            raise Failed(Fault.BROKEN, str(error)) from error

    def _pause(self, wait: float | None, pauses: int) -> float:
        """Seconds: what the server asked for, or ever longer; jittered, lest requests return as one."""
        if wait is None:
            wait = min(_FIRST_PAUSE * 2.0 ** (pauses - 1), _LONGEST_PAUSE)
        return wait * (1 + self._random.random() / 2)
