"""What all schedules share: who is here, which matches are out, and what came back.

Everything that is the same for every schedule lives in this file; which match comes next lives in the
others. A schedule answers three questions and never looks at the clock or at the order of events:

- `_known(i)`: slot i has become present, or gone without ever being present. What can be played now?
- `_cancelled(match)`: a match that nobody had fetched yet lost a player. Who profits?
- `_recorded(match, p)`: a match came back. What can be played now?

Each puts matches into `self._queue` by `_offer`. A schedule must offer whatever can be played as soon as it
can be played; then "every slot known, nothing queued, nothing being played" means that nothing is still to
come.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, NoReturn

from rrm_reward.errors import ConfigError
from rrm_reward.options import Option
from rrm_reward.seeding import derive_seed
from rrm_reward.types import Match, Outcome

EXPECTED, PRESENT, GONE = range(3)


class Schedule(ABC):
    """Base of the schedules of `SCHEDULES`; see `Tournament` for the promises.

    Subclasses take ``(n, *, seed, budget, **options)``, set `planned` and draw whatever they draw from the
    seed.

    Attributes:
        OPTIONS: what a user may set in ``tournament.options``.
        RATING: name of the rating that suits the schedule.
        AHEAD: whether its matches wait for winners of earlier ones, so that some can be played ahead (``arena.ahead``).
        CIRCUMSTANCES: whether it takes ``circumstances``; see `Circumstances`.
        n: number of slots.
        planned: matches that are played at most.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {}
    RATING: ClassVar[str]
    AHEAD: ClassVar[bool] = False
    CIRCUMSTANCES: ClassVar[bool] = False

    def __init__(self, n: int, seed: int) -> None:
        self.n = n
        self.planned = 0
        self._seed = seed
        self._state = [EXPECTED] * n
        self._unknown = n
        self._lead = [0] * n  # matches shown as Assistant 1, less matches shown as Assistant 2
        self._queue: list[Match] = []
        self._playing: dict[tuple[int, int, int], Match] = {}
        self._outcomes: list[Outcome] = []

    @abstractmethod
    def _known(self, i: int) -> None: ...

    @abstractmethod
    def _cancelled(self, match: Match) -> None: ...

    @abstractmethod
    def _recorded(self, match: Match, p: float | None) -> None: ...

    def add(self, i: int) -> None:
        """Response i has arrived. Adding twice, or after `withdraw`, changes nothing."""
        self._check(i)
        if self._state[i] == EXPECTED:
            self._state[i] = PRESENT
            self._unknown -= 1
            self._known(i)

    def withdraw(self, i: int) -> None:
        """Response i will never come, or is out. Safe at any time, idempotent.

        A match of it that is being played stays as it is, and its result counts when it is recorded.
        """
        self._check(i)
        before, self._state[i] = self._state[i], GONE
        if before == EXPECTED:
            self._unknown -= 1
            self._known(i)
        elif before == PRESENT:
            cancelled = [match for match in self._queue if i in (match.i, match.j)]
            self._queue = [match for match in self._queue if i not in (match.i, match.j)]
            for match in cancelled:
                self._lead[match.i] -= 1
                self._lead[match.j] += 1
                self._cancelled(match)
            self._left(i)

    def ready(self) -> list[Match]:
        """Matches that can be played now, each handed out exactly once."""
        matches, self._queue = self._queue, []
        for match in matches:
            self._playing[match.i, match.j, match.round] = match
        return matches

    def record(self, outcome: Outcome) -> None:
        """A handed-out match came to this.

        Raises:
            ValueError: the match was not handed out, or was recorded before, or p is no probability.
        """
        if outcome.p is not None and not 0 <= outcome.p <= 1:
            raise ValueError(f"p={outcome.p!r} is no share of votes in [0, 1]")
        key = (outcome.i, outcome.j, outcome.round)
        match = self._playing.pop(key, None)
        if match is None:
            raise ValueError(f"match (i, j, round)={key} is not being played")
        self._outcomes.append(outcome)
        self._recorded(match, outcome.p)

    @property
    def done(self) -> bool:
        """True once every slot is known and no match is ready, being played or still to come."""
        return not (self._unknown or self._queue or self._playing)

    @property
    def outcomes(self) -> list[Outcome]:
        """Every recorded outcome, in the order of `record`."""
        return list(self._outcomes)

    def _left(self, i: int) -> None:  # noqa: B027 - most schedules look when its next match is due
        """Response i, who was present, has gone."""

    def _check(self, i: int) -> None:
        if not 0 <= i < self.n:
            raise ValueError(f"slot {i} of a group of {self.n}")

    def _offer(self, i: int, j: int, round: int, depth: int) -> None:
        """Queue the match; i is Assistant 1."""
        self._lead[i] += 1
        self._lead[j] -= 1
        self._queue.append(Match(i, j, round, depth))

    def _offer_in_turn(self, a: int, b: int, round: int, depth: int) -> None:
        """Queue the match with the one as Assistant 1 who has been so less often; between equals, a coin.

        Both players' earlier matches are over, so this depends on the schedule and the verdicts, not on their
        timing.
        """
        if self._lead[a] == self._lead[b]:
            a, b = min(a, b), max(a, b)
            swap = bool(derive_seed(self._seed, "first", round, a, b) & 1)
        else:
            swap = self._lead[a] > self._lead[b]
        self._offer(*((b, a) if swap else (a, b)), round, depth)

    def _draw(self) -> list[int]:
        """The slots in seeded order, the same on every machine and every version of Python and NumPy."""
        return sorted(range(self.n), key=lambda i: derive_seed(self._seed, "draw", i))

    @staticmethod
    def _refuse_budget(budget: int, needed: int, n: int) -> NoReturn:
        raise ConfigError(
            "tournament.budget", budget, f"{n} responses need at least {needed} comparisons here"
        )
