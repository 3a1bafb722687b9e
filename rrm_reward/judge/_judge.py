"""The judge: a pair of texts in, a win probability out, and every fault on the way a missing vote.

    judge = Judge.from_config(config.judge)
    await judge.start()
    judgment = await judge.compare("What is 2 + 2?", judge.view("4"), judge.view("5"))

One request carries all votes of an order (``n=k``: the prompt is prefilled once). Votes without a verdict are
asked again, and only they; votes whose request failed are not, for the backend has spent its retries on them.

From votes to p, the share for a: in each order, the share of a among the votes that hold a verdict. Where
both orders were asked, p is the mean of the two shares, which cancels a position bias even if one order lost
votes; if one order has no verdict at all, it is the share of the other. The aggregate ``majority`` then
rounds p to 0, 1, or 0.5 on a tie.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rrm_reward.config import JudgeConfig
from rrm_reward.errors import ConfigError
from rrm_reward.judge._backend import Backend, BackendError, Completion, Message, Sampling
from rrm_reward.judge._backends import BACKENDS
from rrm_reward.judge._base import Judgment
from rrm_reward.judge._context import ContextFit
from rrm_reward.judge._health import Alarm, JudgeCounts
from rrm_reward.judge._openai import PATIENCE
from rrm_reward.judge._prompt import build_messages, render_query
from rrm_reward.judge._tokenizer import context_fit, load_tokenizer
from rrm_reward.judge._untrusted import make_view, neutralise, special_tokens_of
from rrm_reward.judge._verdict import parse_verdict
from rrm_reward.seeding import derive_seed
from rrm_reward.types import NoVerdict, Query, Verdict, Vote

logger = logging.getLogger(__name__)

_ERROR = Verdict(None, NoVerdict.ERROR)
_QUERIES = 1024


class Judge:
    """A `Comparer` over any backend.

    Args:
        backend: turns messages into completions. Its ``context_tokens`` and ``tokenizer``, if it has them, are used
            after `start`.
        sampling: how completions are drawn; its seed is replaced where `request_seed` is set.
        order: ``balanced`` (a first: the tournament balances), ``random`` (by the comparison's seed), or ``both``.
        votes: completions of a match in each order asked.
        aggregate: ``share`` or ``majority``; see the module's text.
        reasks: how often votes without a verdict are asked again.
        request_seed: send a seed derived from the comparison's with each request.
        response_view: ``final`` or ``full``.
        always_thinks: the policy's chat template opens the think block; see `make_view`.
        tokenizer: folder or hub name of the judge's tokenizer, loaded by `start`; None goes without.
        context_tokens: the judge's context length; None takes the backend's.
        timeout: seconds after which a request counts as failed, whatever the backend does about it.
        keep_text: keep completions in the votes.

    Attributes:
        counts: see `JudgeCounts`.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        sampling: Sampling | None = None,
        order: str = "balanced",
        votes: int = 1,
        aggregate: str = "share",
        reasks: int = 1,
        request_seed: bool = False,
        response_view: str = "final",
        always_thinks: bool = False,
        tokenizer: str | None = None,
        context_tokens: int | None = None,
        timeout: float | None = None,
        keep_text: bool = False,
    ) -> None:
        for key, value, allowed in (
            ("judge.order", order, ("balanced", "random", "both")),
            ("judge.aggregate", aggregate, ("share", "majority")),
        ):
            if value not in allowed:
                raise ConfigError(key, value, f"choose one of {', '.join(allowed)}")
        self._backend = backend
        self._sampling = sampling or Sampling()
        self._order = order
        self._k = votes
        self._majority = aggregate == "majority"
        self._reasks = reasks
        self._request_seed = request_seed
        self._response_view = response_view
        self._always_thinks = always_thinks
        self._tokenizer = tokenizer
        self._context_tokens = context_tokens
        self._timeout = timeout
        self._keep_text = keep_text
        self._special_tokens: frozenset[str] = frozenset()
        self._view = make_view(response_view, always_thinks=always_thinks)
        self._fit = ContextFit(None)
        self._queries: dict[str | int, tuple[Query, str]] = {}
        self._alarm = Alarm()
        self._started = False
        self.counts = JudgeCounts()

    @classmethod
    def from_config(cls, config: JudgeConfig) -> Judge:
        """The judge of a configuration; nothing is loaded and nobody is asked before `start`.

        Raises:
            ConfigError: an unknown backend, order, aggregate or view.
        """
        if config.backend not in BACKENDS:
            raise ConfigError("judge.backend", config.backend, f"choose one of {', '.join(BACKENDS)}")
        backend = BACKENDS[config.backend](config)
        return cls(
            backend,
            sampling=Sampling(config.temperature, config.top_p, config.max_tokens),
            order=config.order,
            votes=config.votes,
            aggregate=config.aggregate,
            reasks=config.reasks,
            request_seed=config.request_seed,
            response_view=config.response_view,
            always_thinks=config.always_thinks,
            tokenizer=config.tokenizer,
            context_tokens=config.context_tokens,
            # A backend that bounds its requests needs no second clock, which costs 15 us a comparison.
            timeout=None if hasattr(backend, "patience") else PATIENCE * config.timeout,
            keep_text=config.keep_text,
        )

    @property
    def width(self) -> int:
        """See `Comparer.width`."""
        return 2 if self._order == "both" else 1

    async def start(self) -> None:
        """See `Comparer.start`: checks the backend, and fits prompts into the context it has.

        Raises:
            ConfigError: what the backend refuses, a tokenizer that cannot be loaded, or no room for a prompt.
        """
        if self._started:
            return
        await self._backend.start()
        tokenizer: Any = getattr(self._backend, "tokenizer", None)
        if tokenizer is None and self._tokenizer is not None:
            tokenizer = await asyncio.to_thread(load_tokenizer, self._tokenizer, "judge.tokenizer")
        if tokenizer is not None:
            self._special_tokens = special_tokens_of(tokenizer)
            self._view = make_view(
                self._response_view, self._special_tokens, always_thinks=self._always_thinks
            )
            self._queries.clear()
        context = self._context_tokens or getattr(self._backend, "context_tokens", None)
        if context is not None:
            self._fit = context_fit(context, self._sampling.max_tokens, tokenizer)
        else:
            logger.warning(
                "the judge does not say how long its context is: pairs that are too long for it will be refused and "
                "missing; set judge.context_tokens, and they are cut to fit"
            )
        self._started = True

    async def aclose(self) -> None:
        """See `Comparer.aclose`."""
        self._started = False
        await self._backend.aclose()

    def snapshot(self) -> dict[str, float]:
        """See `Comparer.snapshot`: comparisons whose texts were cut to fit, and votes that were asked again."""
        return {"cut": float(self.counts.cut), "reasks": float(self.counts.reasks)}

    def view(self, response: str) -> str:
        """See `Comparer.view`: the final answer (or all), with nothing in it that acts on the prompt."""
        return self._view(response)

    async def compare(self, query: Query, a: str, b: str, *, seed: int = 0) -> Judgment:
        """See `Comparer.compare`."""
        self.counts.comparisons += 1
        try:
            fitted = self._fit.fit(self._render(query), a, b)
            self.counts.cut += fitted.cut
            if self._order == "both":
                halves = await asyncio.gather(
                    self._poll(fitted.query, fitted.a, fitted.b, True, seed),
                    self._poll(fitted.query, fitted.a, fitted.b, False, seed),
                )
                votes = halves[0] + halves[1]
            else:
                a_first = self._order == "balanced" or derive_seed(seed, "order") % 2 == 0
                votes = await self._poll(fitted.query, fitted.a, fitted.b, a_first, seed)
        except Exception as error:
            # Nothing below is expected to raise. Whatever does must not end a training run.
            votes = [Vote(True, _ERROR)] * self._k
            self.counts.calls += self._k
            self.counts.errors += self._k
            self._alarm.surprised(self.counts.errors, error)
        return Judgment(self._share(votes), tuple(votes), len(votes))

    async def _poll(self, query: str, a: str, b: str, a_first: bool, seed: int) -> list[Vote]:
        """Every vote of one order, those without a verdict and the re-asked ones included."""
        messages = build_messages(query, a, b) if a_first else build_messages(query, b, a)
        sampling = self._sampling
        votes: list[Vote] = []
        missing = self._k
        for attempt in range(1 + self._reasks):
            if self._request_seed:
                # 31 bits: what every server's integer type holds, with room for n seeds in a row.
                sampling = replace(sampling, seed=derive_seed(seed, "request", int(a_first), attempt) >> 33)
            self.counts.calls += missing
            self.counts.reasks += missing if attempt else 0
            completions = await self._request(messages, missing, sampling)
            votes += [Vote(a_first, _ERROR)] * (missing - len(completions))
            if not completions:
                break
            for completion in completions:
                vote = self._read(completion, a_first)
                votes.append(vote)
                missing -= vote.verdict.choice is not None
            if not missing or self._decided(votes):
                break
        return votes

    async def _request(self, messages: Sequence[Message], n: int, sampling: Sampling) -> Sequence[Completion]:
        """At most n completions; those that are missing are counted and reported as errors."""
        try:
            if self._timeout is None:
                completions = await self._backend.complete(messages, n, sampling)
            else:
                async with asyncio.timeout(self._timeout):
                    completions = await self._backend.complete(messages, n, sampling)
        except (BackendError, TimeoutError) as error:
            self.counts.errors += n
            self._alarm.failed(self.counts.errors, str(error) or "timeout")
            return ()
        except Exception as error:
            self.counts.errors += n
            self._alarm.surprised(self.counts.errors, error)
            return ()
        if len(completions) < n:
            self.counts.errors += n - len(completions)
            self._alarm.failed(self.counts.errors, f"{len(completions)} of {n} completions came back")
        return completions[:n]

    def _read(self, completion: Completion, a_first: bool) -> Vote:
        verdict = parse_verdict(
            completion.text, finish_reason=completion.finish_reason, reasoning=completion.reasoning
        )
        self.counts.add(completion, verdict)
        self._alarm.heard(completion, verdict)
        text = None
        if self._keep_text:
            reasoning = completion.reasoning
            text = f"{reasoning}</think>{completion.text}" if reasoning else completion.text
        return Vote(a_first, verdict, completion.prompt_tokens, completion.completion_tokens, text)

    def _decided(self, votes: Sequence[Vote]) -> bool:
        """True if no further vote could change the majority (with both orders, any could)."""
        if not self._majority or self._order == "both":
            return False
        for_a = sum(vote.for_i is True for vote in votes)
        for_b = sum(vote.for_i is False for vote in votes)
        return 2 * max(for_a, for_b) > self._k

    def _share(self, votes: Sequence[Vote]) -> float | None:
        """Share of the votes for a, by the rule on top of this module."""
        wins, cast = [0, 0], [0, 0]
        for vote in votes:
            choice = vote.verdict.choice
            if choice is not None:
                cast[vote.i_first] += 1
                wins[vote.i_first] += (choice == 1) == vote.i_first
        shares = [won / total for won, total in zip(wins, cast, strict=True) if total]
        if not shares:
            return None
        p = sum(shares) / len(shares)
        return p if not self._majority or p == 0.5 else float(p > 0.5)

    def _render(self, query: Query) -> str:
        """The query as the prompt has it; remembered, for all matches of a group share it.

        Texts are remembered by value, messages by identity, kept alive so that no other takes their address.
        """
        key = query if isinstance(query, str) else id(query)
        known = self._queries.get(key)
        if known is not None:
            return known[1]
        rendered = neutralise(render_query(query), self._special_tokens)
        if len(self._queries) >= _QUERIES:
            del self._queries[next(iter(self._queries))]
        self._queries[key] = (query, rendered)
        return rendered
