"""The arena of a scorer: no tournament, one call a response, the scores are the ratings.

What the outside sees is an arena like any other: groups that are opened before their members exist, identical responses
that share one score, deadlines, counters. A result's ``comparisons`` is 0 and its ``outcomes`` are what the scores say
of every pair, for whoever asks how a pair ended.

Rewards: ratings are the raw scores, and the reward's scale sees them less the group's mean, so that ``natural`` is the
log-odds against an average response, as it is for Bradley-Terry ratings, and the clip cuts nothing but wide margins.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from itertools import combinations

import numpy as np

from rrm_reward._open_group import OpenGroup, Rules
from rrm_reward.arena import Arena
from rrm_reward.errors import ConfigError
from rrm_reward.health import Health
from rrm_reward.rating import make_rating
from rrm_reward.record import Recorder
from rrm_reward.reward import Reward
from rrm_reward.scoring._base import Score, Scorer, win_probability
from rrm_reward.tournament import Tournament
from rrm_reward.tournament._pairs import FixedPairs
from rrm_reward.types import GroupResult, Match, Outcome, PositionBelief, Query, Ratings

logger = logging.getLogger(__name__)


class ScoringArena(Arena):
    """Many groups, one scorer.

    Args:
        scorer: its faults are unknown rewards.
        reward: ratings to rewards.
        seed, concurrency, group_timeout, recorder, health: see `Arena`.
    """

    def __init__(
        self,
        scorer: Scorer,
        reward: Reward,
        *,
        seed: int = 0,
        concurrency: int = 256,
        group_timeout: float | None = None,
        recorder: Recorder | None = None,
        health: Health | None = None,
    ) -> None:
        super().__init__(
            scorer,
            _no_matches,
            make_rating("bradley_terry"),
            reward,
            seed=seed,
            concurrency=concurrency,
            group_timeout=group_timeout,
            recorder=recorder,
            health=health,
        )
        self._scorer = scorer
        self._room = asyncio.Semaphore(concurrency)

    def _make_group(
        self,
        id: str,
        query: Query,
        size: int,
        ask: Callable[[OpenGroup, list[Match]], None],
        closed: Callable[[GroupResult], None],
    ) -> OpenGroup:
        return _ScoredGroup(self._rules, id, query, size, ask, closed, self._begin)

    def _begin(self, group: _ScoredGroup, view: str) -> None:
        task = asyncio.get_running_loop().create_task(self._score(group, view))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _score(self, group: _ScoredGroup, view: str) -> None:
        loop = asyncio.get_running_loop()
        async with self._room:
            if group.closed:
                return
            began = loop.time()
            self._in_flight += 1
            try:
                score = await self._scorer.score(group.query, view)
            except Exception:
                # A scorer never raises; if one does, that is a bug, and no reason to stop a training run.
                logger.exception(
                    "a response of group %s could not be scored; its reward is unknown", group.id
                )
                score = Score(None)
            finally:
                self._in_flight -= 1
        self.metrics.scored(
            score.value is not None, score.prompt_tokens, loop.time() - began, late=group.closed
        )
        group.scored(view, score)


class _ScoredGroup(OpenGroup):
    """A group whose members are scored as they come."""

    def __init__(
        self,
        rules: Rules,
        id: str,
        query: Query,
        size: int,
        ask: Callable[[OpenGroup, list[Match]], None],
        on_result: Callable[[GroupResult], None],
        begin: Callable[[_ScoredGroup, str], None],
    ) -> None:
        super().__init__(rules, id, query, size, ask, on_result)
        self._begin = begin
        self._scores: dict[str, Score | None] = {}

    def add(self, slot: int, response: str) -> None:
        """See `OpenGroup.add`; an identical response is not scored again."""
        if self.closed:
            return
        view, known = self._rules.view(response), self._state.known
        self._state.arrive(slot, view)
        if self._state.known > known and view not in self._scores:
            self._scores[view] = None
            self._keep_time()
            self._begin(self, view)
        self._advance()

    def scored(self, view: str, score: Score) -> None:
        """A response came to this. Nothing happens if the group was closed meanwhile."""
        if self.closed:
            return
        self._calls += 1
        self._prompt_tokens += score.prompt_tokens
        self._scores[view] = score
        self._advance()

    def _advance(self) -> None:
        if self._state.done and None not in self._scores.values():
            self._close()

    def _reckon(self) -> GroupResult:
        state, n = self._state, self.size
        value = np.full(n, np.nan)
        standing: list[int | None] = [None] * n
        lengths = [0] * n
        for slot in state.present:
            view = state.view(slot)
            standing[slot], lengths[slot] = state.representative(slot), len(view)
            score = self._scores.get(view)
            if score is not None and score.value is not None and math.isfinite(score.value):
                value[slot] = score.value
        known = value[~np.isnan(value)]
        centred = value - known.mean() if len(known) else value
        unknown = np.full(n, np.nan)
        rewards = self._rules.reward(self._rules.rating, Ratings(centred, unknown))
        self._notes["duplicates"] += len(state.present) - len(set(standing) - {None})
        self._notes["failed"] += state.failed
        return GroupResult(
            id=self.id,
            rewards=rewards,
            ratings=Ratings(value, unknown),
            outcomes=_implied(value.tolist(), standing),
            comparisons=0,
            calls=self._calls,
            missing=sum(score is None or score.value is None for score in self._scores.values()),
            prompt_tokens=self._prompt_tokens,
            seconds=asyncio.get_running_loop().time() - self._began,
            notes={name: count for name, count in self._notes.items() if count},
            lengths=tuple(lengths),
            standing=tuple(standing),
        )


def check_scored_reward(scale: str, shrink: str) -> None:
    """Find at start-up what scores cannot give.

    Raises:
        ConfigError: ``reward.scale`` or ``reward.shrink`` needs standard errors, and scores have none.
    """
    for key, value, needs in (("reward.scale", scale, "decided"), ("reward.shrink", shrink, "stderr")):
        if value == needs:
            raise ConfigError(key, value, "needs standard errors, and scores have none; leave it out")


def _implied(scores: list[float], standing: list[int | None]) -> tuple[Outcome, ...]:
    """What the scores say of every pair of distinct responses."""
    known = [slot for slot, score in enumerate(scores) if not math.isnan(score) and standing[slot] == slot]
    return tuple(Outcome(i, j, win_probability(scores[i] - scores[j])) for i, j in combinations(known, 2))


def _no_matches(n: int, seed: int, position: PositionBelief | None = None) -> Tournament:
    return FixedPairs(n, seed, ())
