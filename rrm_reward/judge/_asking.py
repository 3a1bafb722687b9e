"""From a question to votes: one request for n of them, what it brings, and what is asked again.

    draws known to the store --> request for the rest --> verdicts --> (truncated: forced) --> store --> votes
                                   ^                                                                   |
                                   '------------------- those without a verdict, while re-asks are left '

Votes without a verdict are asked again, and only they; votes whose request failed are not, for the backend has spent
its retries on them. Every completion of a question has a number, its *draw*: draw d of attempt 0 is vote d, re-asks
go on counting. A draw that is in the store is not asked for again, whatever came of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from rrm_reward.judge._backend import Backend, BackendError, Completion, Message, Sampling
from rrm_reward.judge._forcing import can_be_forced, ending_for, soft_verdict
from rrm_reward.judge._health import Alarm, JudgeCounts
from rrm_reward.judge._store import VerdictStore
from rrm_reward.judge._verdict import parse_verdict
from rrm_reward.seeding import derive_seed
from rrm_reward.types import NoVerdict, Verdict, Vote

ERROR = Verdict(None, NoVerdict.ERROR)


class Question(NamedTuple):
    """One order of one comparison.

    Attributes:
        messages: the prompt.
        a_first: whether a is Assistant 1 in it.
        seed: of everything random in the comparison.
    """

    messages: Sequence[Message]
    a_first: bool
    seed: int


class Asker:
    """Gets votes; every fault is a vote without a verdict.

    Args:
        backend: see `Judge`.
        sampling: see `Judge`.
        votes: draws of one attempt.
        reasks: attempts after the first.
        request_seed: whether requests carry a seed.
        timeout: seconds of one request, or None.
        keep_text: whether votes keep their text.
        force: whether a truncated completion is asked for its verdict.
        store: remembers votes, or None.
        counts: is kept up to date.
        alarm: is told of everything.
    """

    def __init__(
        self,
        backend: Backend,
        sampling: Sampling,
        *,
        votes: int,
        reasks: int,
        request_seed: bool,
        timeout: float | None,
        keep_text: bool,
        force: bool,
        store: VerdictStore | None,
        counts: JudgeCounts,
        alarm: Alarm,
    ) -> None:
        self._backend: Any = backend
        self._sampling = sampling
        self._k = votes
        self._reasks = reasks
        self._request_seed = request_seed
        self._timeout = timeout
        self._keep_text = keep_text
        self._force = force
        self._store = store
        self._counts = counts
        self._alarm = alarm

    async def ask(
        self, question: Question, first: int, n: int, enough: Callable[[Sequence[Vote]], bool]
    ) -> list[Vote]:
        """Every vote from `first` on, n of them, those without a verdict and the re-asked ones included.

        Args:
            question: what is asked.
            first: number of the first vote, 0-based.
            n: votes to be asked for.
            enough: asked before a re-ask, with the votes so far; once true, nothing is asked again.
        """
        votes: list[Vote] = []
        missing = n
        for attempt in range(1 + self._reasks):
            draw = attempt * self._k + first
            self._counts.reasks += missing if attempt else 0
            if self._store is None:
                came, _ = await self._request(question, attempt, draw, missing)
            else:
                came = await self._recall(self._store, question, attempt, draw, missing)
            votes += came
            if len(came) < missing:
                votes += [Vote(question.a_first, ERROR)] * (missing - len(came))
            for vote in came:
                if vote.verdict.choice is not None or vote.soft is not None:
                    missing -= 1
            if not missing or not came or enough(votes):
                break
        return votes

    async def _recall(
        self, store: VerdictStore, question: Question, attempt: int, first: int, n: int
    ) -> list[Vote]:
        """At most n votes, from the store, and the rest by one request."""
        key = store.key(question.messages, question.seed if self._request_seed else None)
        async with store.turn(key, first):
            known = await store.get(key, first, n)
            votes = [replace(vote, i_first=question.a_first) for vote in known.values()]
            for vote in votes:
                self._counts.recalled(vote)
            fresh = [draw for draw in range(first, first + n) if draw not in known]
            if fresh:
                came, final = await self._request(question, attempt, fresh[0], len(fresh))
                # Durable before anybody acts on it: what was paid for is never paid for again.
                numbered = zip(fresh, came, final, strict=False)
                await store.put(key, [(draw, vote) for draw, vote, said in numbered if said])
                votes += came
        return votes

    async def _request(
        self, question: Question, attempt: int, first: int, n: int
    ) -> tuple[list[Vote], list[bool]]:
        """At most n votes, those of a failed request left out; and whether each is all that the model would say."""
        sampling = self._sampling
        if self._request_seed:
            # 31 bits: what every server's integer type holds, with room for n seeds in a row.
            seed = derive_seed(question.seed, "request", int(question.a_first), attempt) >> 33
            sampling = replace(sampling, seed=seed + first - attempt * self._k)
        completions = await self._complete(question.messages, n, sampling)
        votes = [self._read(completion, question.a_first) for completion in completions]
        final = [True] * len(votes)
        if self._force:
            votes, final = await self._force_all(votes, completions)
        for vote, completion in zip(votes, completions, strict=True):
            if vote.soft is None:
                self._alarm.heard(completion, vote.verdict)
        return votes, final

    async def _complete(
        self, messages: Sequence[Message], n: int, sampling: Sampling
    ) -> Sequence[Completion]:
        """At most n completions; those that are missing are counted and reported as errors."""
        try:
            if self._timeout is None:
                completions: list[Completion] = await self._backend.complete(messages, n, sampling)
            else:
                async with asyncio.timeout(self._timeout):
                    completions = await self._backend.complete(messages, n, sampling)
        except (BackendError, TimeoutError) as error:
            self._counts.errors += n
            self._alarm.failed(self._counts.errors, str(error) or "timeout")
            return ()
        except Exception as error:
            self._counts.errors += n
            self._alarm.surprised(self._counts.errors, error)
            return ()
        if len(completions) < n:
            self._counts.errors += n - len(completions)
            self._alarm.failed(self._counts.errors, f"{len(completions)} of {n} completions came back")
        return completions[:n]

    async def _force_all(
        self, votes: Sequence[Vote], completions: Sequence[Completion]
    ) -> tuple[list[Vote], list[bool]]:
        """The votes, those that can be forced with what came of it; false for each whose forcing failed."""

        async def forced(vote: Vote, completion: Completion) -> tuple[Vote, bool]:
            if not can_be_forced(completion, vote.verdict):
                return vote, True
            soft, answered = await self._forced(completion)
            return replace(vote, soft=soft), answered

        came = await asyncio.gather(*map(forced, votes, completions))
        return [vote for vote, _ in came], [answered for _, answered in came]

    async def _forced(self, completion: Completion) -> tuple[float | None, bool]:
        """Probability of Assistant 1 by `_forcing`; None, counted, where there is none to be had.

        And whether the model answered: a call that failed may succeed next time.
        """
        answered, reason = False, "the judge would go on with neither 1 nor 2"
        try:
            async with asyncio.timeout(self._timeout):
                logprobs = await self._backend.next_token(completion, ending_for(completion))
            soft, answered = soft_verdict(logprobs), True
        except (BackendError, TimeoutError) as error:
            soft, reason = None, str(error) or "timeout"
        except Exception as error:
            soft, reason = None, f"{type(error).__name__}: {error}"
        self._counts.forced += soft is not None
        self._counts.unforced += soft is None
        if soft is None:
            self._alarm.unforced(self._counts.unforced, reason)
        return soft, answered

    def _read(self, completion: Completion, a_first: bool) -> Vote:
        verdict = parse_verdict(
            completion.text, finish_reason=completion.finish_reason, reasoning=completion.reasoning
        )
        text = None
        if self._keep_text:
            reasoning = completion.reasoning
            text = f"{reasoning}</think>{completion.text}" if reasoning else completion.text
        return Vote(a_first, verdict, completion.prompt_tokens, completion.completion_tokens, text)
