"""The judge: a pair of texts in, a win probability out, and every fault on the way a missing vote.

    judge = Judge.from_config(config.judge)
    await judge.start()
    judgment = await judge.compare("What is 2 + 2?", judge.view("4"), judge.view("5"))

How many votes are asked for at once is `_polling`'s business, how they are got `_asking`'s, what they come to
`_ballot`'s.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from typing import Any

from rrm_reward.config import JudgeConfig
from rrm_reward.errors import ConfigError
from rrm_reward.judge._asking import ERROR, Asker, Question
from rrm_reward.judge._backend import Backend, Sampling
from rrm_reward.judge._backends import BACKENDS
from rrm_reward.judge._ballot import Ballot, share
from rrm_reward.judge._base import Judgment
from rrm_reward.judge._context import ContextFit
from rrm_reward.judge._forcing import ENDINGS, TOKENS
from rrm_reward.judge._health import Alarm, JudgeCounts
from rrm_reward.judge._openai import PATIENCE
from rrm_reward.judge._polling import Polling
from rrm_reward.judge._prompt import build_messages, render_query
from rrm_reward.judge._store import VerdictStore, make_store
from rrm_reward.judge._tokenizer import context_fit, load_tokenizer
from rrm_reward.judge._untrusted import make_view, neutralise, special_tokens_of
from rrm_reward.seeding import derive_seed
from rrm_reward.types import Query, Vote

logger = logging.getLogger(__name__)

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
        early_stop: ``none``, ``waves`` or ``race``; see `_polling`.
        reasks: how often votes without a verdict are asked again.
        force: whether a completion that ran into its limit is asked for its verdict; see `_forcing`.
        store: remembers votes; opened by `start`, closed by `aclose`.
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
        early_stop: str = "none",
        reasks: int = 1,
        force: bool = False,
        store: VerdictStore | None = None,
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
            ("judge.early_stop", early_stop, ("none", "waves", "race")),
        ):
            if value not in allowed:
                raise ConfigError(key, value, f"choose one of {', '.join(allowed)}")
        self._backend = backend
        self._sampling = replace(sampling or Sampling(), continuable=force)
        self._order = order
        self._k = votes
        self._majority = aggregate == "majority"
        self._early_stop = early_stop
        self._force = force
        self._store = store
        self._response_view = response_view
        self._always_thinks = always_thinks
        self._tokenizer = tokenizer
        self._context_tokens = context_tokens
        self._special_tokens: frozenset[str] = frozenset()
        self._view = make_view(response_view, always_thinks=always_thinks)
        self._fit = ContextFit(None)
        self._queries: dict[str | int, tuple[Query, str]] = {}
        self._started = False
        self._alarm = Alarm()
        self.counts = JudgeCounts()
        both = (True, False)
        self._ballots = {
            first: Ballot(votes, both if order == "both" else (first,), self._majority) for first in both
        }
        asker = Asker(
            backend,
            self._sampling,
            votes=votes,
            reasks=reasks,
            request_seed=request_seed,
            timeout=timeout,
            keep_text=keep_text,
            force=force,
            store=store,
            counts=self.counts,
            alarm=self._alarm,
        )
        self._polling = Polling(asker, early_stop, self.counts)

    @classmethod
    def from_config(cls, config: JudgeConfig, backend: Backend | None = None) -> Judge:
        """The judge of a configuration; nothing is loaded and nobody is asked before `start`.

        Args:
            config: what it is to be.
            backend: shared with another judge of the same configuration; None makes one.

        Raises:
            ConfigError: an unknown backend, order, aggregate or view.
        """
        if config.backend not in BACKENDS:
            raise ConfigError("judge.backend", config.backend, f"choose one of {', '.join(BACKENDS)}")
        backend = backend or BACKENDS[config.backend](config)
        limit = min(config.max_tokens, config.thinking_tokens or config.max_tokens)
        sampling = Sampling(config.temperature, config.top_p, limit)
        return cls(
            backend,
            sampling=sampling,
            order=config.order,
            votes=config.votes,
            aggregate=config.aggregate,
            early_stop=config.early_stop,
            reasks=config.reasks,
            force=config.force == "truncated",
            store=make_store(config, sampling),
            request_seed=config.request_seed,
            response_view=config.response_view,
            always_thinks=config.always_thinks,
            tokenizer=config.tokenizer,
            context_tokens=config.context_tokens,
            # A backend that bounds its requests needs no second clock, which is not free.
            timeout=None if hasattr(backend, "patience") else PATIENCE * config.timeout,
            keep_text=config.keep_text,
        )

    @property
    def width(self) -> int:
        """See `Comparer.width`."""
        return (2 if self._order == "both" else 1) * (self._k if self._early_stop == "race" else 1)

    async def start(self) -> None:
        """See `Comparer.start`: checks the backend, and fits prompts into the context it has.

        Raises:
            ConfigError: what the backend refuses, a tokenizer that cannot be loaded, or no room for a prompt.
        """
        if self._started:
            return
        await self._backend.start()
        if self._force:
            prepare = getattr(self._backend, "prepare", None)
            if prepare is None:
                raise ConfigError("judge.force", "truncated", "this backend cannot do it; leave it at none")
            await prepare(ENDINGS)
        if self._store is not None:
            self._store.open()
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
            room = self._sampling.max_tokens + (TOKENS if self._force else 0)
            self._fit = context_fit(context, room, tokenizer)
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
        if self._store is not None:
            self._store.close()

    def awake(self) -> AbstractAsyncContextManager[None]:
        """While anyone is inside, a backend that sleeps between uses is awake; others always are."""
        awake: Callable[[], AbstractAsyncContextManager[None]] = getattr(self._backend, "awake", nullcontext)
        return awake()

    def snapshot(self) -> dict[str, float]:
        """See `Comparer.snapshot`: what only a judge knows; the names are those of `JudgeCounts`."""
        names = ("cut", "reasks", "forced", "unforced", "stored", "cancelled", "spared")
        return {name: float(getattr(self.counts, name)) for name in names}

    def view(self, response: str) -> str:
        """See `Comparer.view`: the final answer (or all), with nothing in it that acts on the prompt."""
        return self._view(response)

    async def compare(self, query: Query, a: str, b: str, *, seed: int = 0) -> Judgment:
        """See `Comparer.compare`."""
        try:
            fitted = self._fit.fit(self._render(query), a, b)
            self.counts.cut += fitted.cut
            a_first = self._order != "random" or derive_seed(seed, "order") % 2 == 0
            ballot = self._ballots[a_first]
            questions = [
                Question(
                    build_messages(fitted.query, fitted.a, fitted.b)
                    if order
                    else build_messages(fitted.query, fitted.b, fitted.a),
                    order,
                    seed,
                )
                for order in ballot.orders
            ]
            votes, cancelled = await self._polling.poll(ballot, questions)
        except Exception as error:
            # Nothing below is expected to raise. Whatever does must not end a training run.
            votes, cancelled = [Vote(True, ERROR)] * self._k, 0
            self.counts.errors += self._k
            self._alarm.surprised(self.counts.errors, error)
        return Judgment(share(votes, majority=self._majority), tuple(votes), len(votes) + cancelled)

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
