"""A group that is being judged: its state, its deadline, its result.

`OpenGroup` lives in the arena's event loop. It decides nothing about other groups: what is to be played goes to the
arena through `ask`, what came back is handed in by `record`, and the result is told once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rrm_reward._group import GroupState, Pairing
from rrm_reward._reckoning import reckon
from rrm_reward.judge import Judgment, render_query
from rrm_reward.rating import PositionBias, Rating
from rrm_reward.reward import Reward
from rrm_reward.seeding import derive_seed
from rrm_reward.tournament import Tournament
from rrm_reward.types import GroupResult, Match, PositionBelief, Query, Ratings

logger = logging.getLogger(__name__)


class Draw(Protocol):
    """Draws the tournament of a group of n with this seed."""

    def __call__(self, n: int, seed: int, position: PositionBelief | None = None) -> Tournament:
        """A fresh tournament; equal arguments give equal tournaments.

        Args:
            n: slots.
            seed: of the group.
            position: what is believed of the judge's position bias, where it is learnt.
        """
        ...


@dataclass(frozen=True, slots=True)
class Rules:
    """What all groups of an arena have in common.

    Attributes:
        draw: a group's tournament.
        rating: outcomes to ratings.
        reward: ratings to rewards.
        view: what the judge sees of a response.
        seed: the one seed.
        timeout: seconds from a group's first match to its result at the latest, or None.
        position: learns the judge's position bias, or None.
        ahead: members that may be missing while matches are played ahead of them; see `rrm_reward._ahead`.
    """

    draw: Draw
    rating: Rating
    reward: Reward
    view: Callable[[str], str]
    seed: int
    timeout: float | None
    position: PositionBias | None = None
    ahead: int = 0


class OpenGroup:
    """A group of `size` slots whose members may still be coming; made by `Arena.open`.

    Args:
        rules: of the arena.
        id: names the group in logs.
        query: all members answer it.
        size: number of slots.
        ask: takes matches that can be judged now.
        on_result: called once, in the moment the group is closed.
    """

    def __init__(
        self,
        rules: Rules,
        id: str,
        query: Query,
        size: int,
        ask: Callable[[OpenGroup, list[Match]], None],
        on_result: Callable[[GroupResult], None],
    ) -> None:
        self.id = id
        self.query = query
        self.closed = False
        self._rules = rules
        self._seed = seed = derive_seed(rules.seed, "group", render_query(query))
        self._seeds: dict[str, int] = {}
        self._ask = ask
        self._on_result = on_result
        # No reference to ourselves here: see `_close`.
        # What was believed at the opening, so that a tournament that is drawn again is the same one.
        known = () if rules.position is None else (rules.position.belief,)
        self._state = GroupState(size, lambda n: rules.draw(n, seed, *known), rules.ahead)
        loop = asyncio.get_running_loop()
        self._result: asyncio.Future[GroupResult] = loop.create_future()
        self._began = loop.time()
        self._deadline: asyncio.TimerHandle | None = None
        self._notes: Counter[str] = Counter()
        self._calls = self._comparisons = self._prompt_tokens = self._completion_tokens = 0

    @property
    def size(self) -> int:
        """Number of slots."""
        return self._state.n

    @property
    def all_here(self) -> bool:
        """Whether every member has arrived or failed: nothing but the judge is waited for."""
        return self._state.known == self._state.n

    def add(self, slot: int, response: str) -> None:
        """The response in this slot has arrived; judging goes on at once. A known slot stays as it is.

        Raises:
            IndexError: slot is not in [0, size).
        """
        if not self.closed:
            view = self._rules.view(response)
            self._seeds[view] = derive_seed(self._seed, view)
            self._state.arrive(slot, view)
            self._advance()
            self._look_ahead_soon()

    def withdraw(self, slot: int) -> None:
        """The member in this slot failed: its siblings go on without it.

        Raises:
            IndexError: slot is not in [0, size).
        """
        if not self.closed:
            self._state.withdraw(slot)
            self._advance()
            self._look_ahead_soon()

    def complete(self) -> None:
        """Whoever has not come by now will not; matches among the present are still played."""
        if not self.closed:
            self._state.close()
            self._advance()
            self._look_ahead_soon()

    def expire(self) -> None:
        """Close now, with what is known."""
        if not self.closed:
            self._notes["expired"] += 1
            self._close()

    async def result(self) -> GroupResult:
        """What the group came to. Waits for it; cancelling the wait does not cancel the group."""
        return await asyncio.shield(self._result)

    def pairing(self, match: Match) -> Pairing:
        """The two views that a match compares."""
        return self._state.view(match.i), self._state.view(match.j)

    def wants(self, match: Match) -> bool:
        """Whether a match that was asked for is still to be judged; asked once, just before it begins."""
        return not self.closed and self._state.wanted(match)

    def seed(self, pairing: Pairing) -> int:
        """Of everything random in a comparison: follows from the one seed, the query and the two views."""
        a, b = pairing
        # Both are hashes already; an odd factor keeps (a, b) apart from (b, a).
        return (self._seeds[a] * 0x9E3779B97F4A7C15 + self._seeds[b]) % 2**63

    def record(self, pairing: Pairing, judgment: Judgment) -> None:
        """A match came to this. Nothing happens if the group was closed meanwhile."""
        if self.closed:
            return
        self._comparisons += 1
        self._calls += judgment.calls
        for vote in judgment.votes:
            self._prompt_tokens += vote.prompt_tokens
            self._completion_tokens += vote.completion_tokens
            if vote.stored:
                self._notes["stored"] += 1
        self._state.record(pairing, judgment)
        self._advance()
        self._look_ahead()

    def _advance(self) -> None:
        if matches := self._state.ready():
            self._keep_time()
            self._ask(self, matches)
        if self._state.done:
            self._close()

    def _look_ahead_soon(self) -> None:
        """When all have come that come in this moment: of a group that is whole nothing is played ahead."""
        if self._rules.ahead:
            asyncio.get_running_loop().call_soon(self._look_ahead)

    def _look_ahead(self) -> None:
        if self._rules.ahead and not self.closed and (matches := self._state.ahead()):
            self._ask(self, matches)

    def _keep_time(self) -> None:
        """The first question is asked: from now on the deadline counts."""
        if self._deadline is None and self._rules.timeout is not None:
            self._deadline = asyncio.get_running_loop().call_later(self._rules.timeout, self.expire)

    def _close(self) -> None:
        self.closed = True
        if self._deadline is not None:
            self._deadline.cancel()
        try:
            result = self._reckon()
        except Exception:
            # A rating never raises; if one does, that is a bug of ours, and nobody may wait for ever because of it.
            logger.exception("group %s cannot be rated; its rewards are unknown", self.id)
            unknown = np.full(self.size, np.nan)
            result = GroupResult(
                self.id, unknown, Ratings(unknown, unknown), (), self._comparisons, self._calls, 0
            )
        self._result.set_result(result)
        on_result = self._on_result
        # It may lead back to us, and texts of thousands of closed groups must not wait for a garbage collection.
        del self._on_result
        on_result(result)

    def _reckon(self) -> GroupResult:
        """Outcomes to ratings to rewards; twins get what the one that stands for them got."""
        state, rating = self._state, self._rules.rating
        outcomes = state.outcomes()
        standing: list[int | None] = [None] * state.n
        lengths = [0] * state.n
        for slot in state.present:
            standing[slot] = state.representative(slot)
            lengths[slot] = len(state.view(slot))
        position = self._rules.position
        belief = None if position is None else position.belief
        ratings, rewards = reckon(rating, self._rules.reward, state.n, outcomes, standing, belief)
        if position is not None:
            position.update(state.n, outcomes)
        self._notes["duplicates"] += len(state.present) - len(set(standing) - {None})
        self._notes["failed"] += state.failed
        self._notes["unneeded"] += state.unneeded
        return GroupResult(
            id=self.id,
            rewards=rewards,
            ratings=ratings,
            outcomes=tuple(outcomes),
            comparisons=self._comparisons,
            calls=self._calls,
            missing=sum(outcome.p is None for outcome in outcomes),
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self._completion_tokens,
            seconds=asyncio.get_running_loop().time() - self._began,
            notes={name: count for name, count in self._notes.items() if count},
            position=belief,
            lengths=tuple(lengths),
            standing=tuple(standing),
        )
