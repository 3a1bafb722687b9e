"""Responses and labels from OpenAI-compatible servers: asked for once, and written down when they are there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rrm_reward._validate import validate
from rrm_reward.config import JudgeConfig, RRMConfig
from rrm_reward.data.pairs._journal import Journal, key_of
from rrm_reward.judge import BACKENDS, BackendError, Judge, Message, Sampling
from rrm_reward.types import NoVerdict

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class Server:
    """Somebody who answers.

    Attributes:
        urls: base URLs of the replicas, each ending in ``/v1``.
        model: served model name.
        sampling: how answers are drawn.
        key_env: environment variable with the API key.
        timeout: seconds of one try.
    """

    urls: tuple[str, ...]
    model: str
    sampling: Sampling
    key_env: str = "OPENAI_API_KEY"
    timeout: float = 600.0

    def config(self) -> JudgeConfig:
        """As the judge's configuration, checked.

        Raises:
            ConfigError: a URL or number that cannot work.
        """
        judge = JudgeConfig(
            urls=list(self.urls),
            model=self.model,
            api_key_env=self.key_env,
            timeout=self.timeout,
            temperature=self.sampling.temperature,
            top_p=self.sampling.top_p,
            max_tokens=self.sampling.max_tokens,
            # a label that depends on the order is none
            order="both",
        )
        validate(RRMConfig(judge=judge))
        return judge


@dataclass(frozen=True, slots=True)
class Response:
    """A sampled response, and whether it came to its end."""

    text: str
    finished: bool


class Sampler:
    """Responses to messages, from the journal or from the server.

    Attributes:
        asked: requests that went to the server.
        failed: of those, the ones without an answer.
    """

    def __init__(self, server: Server, journal: Journal) -> None:
        self._server = server
        self._backend = BACKENDS["openai"](server.config())
        self._journal = journal
        self.asked = self.failed = 0

    async def start(self) -> None:
        """Check the server.

        Raises:
            ConfigError: it cannot be reached, or does not serve the model.
        """
        await self._backend.start()

    async def aclose(self) -> None:
        """Close connections."""
        await self._backend.aclose()

    async def responses(self, messages: Sequence[Message], n: int) -> list[Response] | None:
        """n responses (fewer if the server gives fewer), or None if it gave no answer."""
        how = self._server.sampling
        key = key_of(
            "responses", self._server.model, list(messages), n, how.temperature, how.top_p, how.max_tokens
        )
        known = self._journal.get(key)
        if known is None:
            self.asked += 1
            try:
                completions = await self._backend.complete(messages, n, how)
            except BackendError:
                self.failed += 1
                return None
            known = [[completion.text, completion.finish_reason] for completion in completions]
            self._journal.put(key, known)
        return [Response(text, finish == "stop") for text, finish in known]


class Labeller:
    """Which of two responses is better, by an RRM or by any other model that is asked with the RRM's prompt.

    Attributes:
        asked: comparisons that went to the server.
        failed: of those, the ones without an answer.
    """

    def __init__(self, server: Server, journal: Journal) -> None:
        self._server = server
        self._judge = Judge.from_config(server.config())
        self._journal = journal
        self.asked = self.failed = 0

    async def start(self) -> None:
        """See `Sampler.start`."""
        await self._judge.start()

    async def aclose(self) -> None:
        """See `Sampler.aclose`."""
        await self._judge.aclose()

    async def preference(self, messages: Sequence[Message], a: str, b: str) -> float | None:
        """Share of the votes for a over both orders (0.5: they contradict each other), None without a verdict.

        Raises:
            BackendError: the server gave no answer.
        """
        how = self._server.sampling
        key = key_of(
            "label", self._server.model, list(messages), a, b, how.temperature, how.top_p, how.max_tokens
        )
        known = self._journal.get(key)
        if known is None:
            self.asked += 1
            judgment = await self._judge.compare(messages, self._judge.view(a), self._judge.view(b))
            choices = [vote.verdict for vote in judgment.votes]
            if all(verdict.reason is NoVerdict.ERROR for verdict in choices):
                self.failed += 1
                raise BackendError("no answer")
            orders = {vote.i_first for vote in judgment.votes if vote.verdict.choice is not None}
            # one order alone may be the position's opinion
            known = {"p": judgment.p if len(orders) == 2 else None}
            self._journal.put(key, known)
        p: float | None = known["p"]
        return p


async def each(
    items: Sequence[A],
    work: Callable[[A], Awaitable[B]],
    width: int,
    enough: Callable[[], bool] = lambda: False,
) -> list[B]:
    """What `work` makes of the items that were begun, in their order; at most `width` at once.

    Args:
        items: any number.
        work: on one item; what it raises ends the others and is raised.
        width: at least 1.
        enough: whether no further item shall be begun; those in work come to their end.
    """
    results: dict[int, B] = {}
    waiting = iter(enumerate(items))

    async def worker() -> None:
        for index, item in waiting:
            results[index] = await work(item)
            if enough():
                return

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(0 if enough() else min(width, len(items))):
                group.create_task(worker())
    except ExceptionGroup as errors:
        # a full disk is told as what it is, not as a group of it
        raise errors.exceptions[0] from errors
    return [results[index] for index in range(len(results))]
