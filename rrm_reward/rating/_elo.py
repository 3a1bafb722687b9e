"""Elo: the chess rating, online or as the maximum likelihood that it approximates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Final, Self

import numpy as np

from rrm_reward.errors import ConfigError
from rrm_reward.options import Option
from rrm_reward.rating._base import Rating
from rrm_reward.rating._bradley_terry import BradleyTerry
from rrm_reward.rating._strength import PRIOR, Model, mean_order
from rrm_reward.types import FloatArray, Outcome, PositionBelief, Ratings

POINTS: Final = 400 / math.log(10)
"""Elo points in one unit of log-odds: 400 points are odds of ten to one (Elo 1978)."""

_ONLY_IN: Final = {"k": "online", "repeats": "online", "prior": "maximum_likelihood"}


class Elo(Rating):
    """Elo points; an average response of the group has `initial`.

    ``maximum_likelihood`` (the default): the ratings under which the outcomes are most probable, with the
    Gaussian prior of `BradleyTerry`; the same numbers on Elo's scale, with its standard errors. It is the
    default because the reward of a response must not depend on which verdict came back first. The RRM paper
    computes Elo over all pairs; its K and update order are not public, and over a complete round robin this
    is what any order approaches as K becomes small and the games are replayed.

    ``online``: R_i += K (p - E), E = 1 / (1 + 10^((R_j - R_i) / 400)), match by match from `initial`,
    averaged over ``repeats`` random orders of the outcomes. The orders are drawn from the seed and permute
    positions in the list, so outcomes in another list order give slightly different numbers: sort them by
    (round, i, j) if that matters. What K the numbers come from is a convention, not an estimate, so there are
    no standard errors: NaN.

    Both take the judge's position bias as the home advantage of chess: in E, Assistant 1 is rated that much higher.
    """

    POSTERIOR = POSITION = True
    unit = "Elo points"
    spread = 400.0
    OPTIONS: ClassVar = {
        "mode": Option(str, "maximum_likelihood", "how", choices=("maximum_likelihood", "online")),
        "initial": Option(float, 1500.0, "rating of an average response", low=-1e6, high=1e6),
        "k": Option(float, 32.0, "largest change by one match (online)", above=0.0, high=400.0),
        "repeats": Option(int, 64, "random orders of play, averaged (online)", low=1, high=100_000),
        "prior": Option(
            float, PRIOR * POINTS, "standard deviation of ratings (maximum_likelihood)", above=0.0, high=1e4
        ),
        "position": Option(
            float, 0.0, "points that Assistant 1 has for being it; if given, fixed", low=-1e5, high=1e5
        ),
    }

    def __init__(
        self,
        *,
        mode: str = "maximum_likelihood",
        initial: float = 1500.0,
        k: float = 32.0,
        repeats: int = 64,
        prior: float = PRIOR * POINTS,
        position: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.mode = mode
        self.initial = initial
        self.k = k
        self.repeats = repeats
        self._seed = seed
        self.position = position
        self._strengths = BradleyTerry(prior=prior / POINTS, position=position / POINTS)

    @classmethod
    def make(cls, *, seed: int, options: Mapping[str, Any], given: Mapping[str, Any]) -> Self:
        """See `Rating.make`."""
        for name in given:
            if name in _ONLY_IN and _ONLY_IN[name] != options["mode"]:
                raise ConfigError(f"rating.options.{name}", given[name], f"needs mode: {_ONLY_IN[name]}")
        return cls(**options, seed=seed)

    @property
    def neutral(self) -> float:
        """The initial rating: updates and the prior keep the mean there."""
        return self.initial

    @property
    def knows_error(self) -> bool:
        """Not online."""
        return self.mode != "online"

    @property
    def model(self) -> Model:
        """That of its maximum likelihood; online Elo has no prior, and takes the default."""
        return self._strengths.model

    def expected(self, value: FloatArray) -> FloatArray:
        """1 / (1 + 10^((initial - value) / 400))."""
        return expected_score(value - self.initial)

    def __call__(
        self, n: int, outcomes: Sequence[Outcome], position: PositionBelief | None = None
    ) -> Ratings:
        """Rate responses 0 to n-1; see `Rating`. Online takes the belief's mean as it is."""
        if self.mode == "online":
            bonus = self.position if position is None else POINTS * position.mean
            return self._online(n, [o for o in outcomes if o.p is not None], bonus)
        strengths = self._strengths(n, outcomes, position)
        return Ratings(np.round(self.initial + POINTS * strengths.value, 7), POINTS * strengths.stderr)

    def _online(self, n: int, outcomes: Sequence[Outcome], bonus: float) -> Ratings:
        value = np.full(n, np.nan)
        if outcomes:
            rows = [(o.i, o.j, o.p, bonus * mean_order(o) if bonus else 0.0) for o in outcomes]
            columns = np.array(rows, dtype=np.float64).T
            i, j, p, home = columns[:, orders_of_play(len(outcomes), self.repeats, self._seed)]
            i, j = i.astype(np.intp), j.astype(np.intp)
            rating = np.full((self.repeats, n), self.initial)
            each = np.arange(self.repeats)
            for match in range(len(outcomes)):  # one match of every order at a time
                a, b = i[:, match], j[:, match]
                change = self.k * (
                    p[:, match] - expected_score(rating[each, a] - rating[each, b] + home[:, match])
                )
                rating[each, a] += change
                rating[each, b] -= change
            known = np.unique(np.concatenate([i[0], j[0]]))
            value[known] = np.round(rating.mean(axis=0)[known], 7)
        return Ratings(value, np.full(n, np.nan))


def expected_score(difference: FloatArray) -> FloatArray:
    """Expected score of a player who is rated that many points higher: 1 / (1 + 10^(-difference / 400))."""
    return np.asarray(1 / (1 + np.exp(-np.clip(difference / POINTS, -700, 700))), dtype=np.float64)


@lru_cache(maxsize=256)
def orders_of_play(matches: int, repeats: int, seed: int) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Random orders, shape (repeats, matches); all groups with as many matches share them."""
    draw = np.random.default_rng([seed, matches]).random((repeats, matches))
    return np.argsort(draw, axis=1, kind="stable")
