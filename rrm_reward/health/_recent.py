"""Means, shares and quantiles of what was seen lately, in memory that does not grow.

Every observation has a weight that is halved by each `half_life` later ones. Instead of making all old weights smaller,
new ones are made larger, so that adding touches one number; now and then everything is scaled down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

_LARGE = 1e100


class Recent:
    """Weighted sums by key; one clock for all keys.

    Args:
        half_life: ticks of the clock after which an observation counts half.
    """

    def __init__(self, half_life: float) -> None:
        self._growth = 2.0 ** (1.0 / half_life)
        self._now = 1.0
        self._sums: dict[str | int, list[float]] = {}

    def add(self, key: str | int, value: float = 0.0, *, tick: bool = True) -> None:
        """One observation; without a tick it is as old as the one before, of the same group or match."""
        if tick:
            self._now *= self._growth
        now = self._now
        sums = self._sums.get(key)
        if sums is None:
            sums = self._sums[key] = [0.0, 0.0, 0.0]
        sums[0] += now
        sums[1] += now * now
        sums[2] += now * value
        if now > _LARGE:
            self._rescale()

    def mean(self, *keys: str | int) -> float:
        """Weighted mean of the values of these keys; NaN without any."""
        weight = self._sum(0, keys)
        return self._sum(2, keys) / weight if weight else math.nan

    def share(self, part: Sequence[str], whole: Sequence[str]) -> float:
        """Weight of some keys in that of others, which include them; NaN without any."""
        weight = self._sum(0, whole)
        return self._sum(0, part) / weight if weight else math.nan

    def effective(self, *keys: str | int) -> float:
        """How many equally weighted observations would say as much: (sum of weights)^2 / sum of squares (Kish)."""
        squares = self._sum(1, keys)
        return self._sum(0, keys) ** 2 / squares if squares else 0.0

    def ratio(self, part: str | int, whole: str | int) -> float:
        """Weighted sum of the values of one key over that of another; NaN where that is 0."""
        total = self._sum(2, (whole,))
        return self._sum(2, (part,)) / total if total else math.nan

    def weights(self) -> dict[str | int, float]:
        """The weight of every key, on no particular scale."""
        # A copy made in one step: another thread may be adding a key.
        return {key: sums[0] for key, sums in list(self._sums.items())}

    def _sum(self, moment: int, keys: Sequence[str | int]) -> float:
        return math.fsum(self._sums[key][moment] for key in keys if key in self._sums)

    def _rescale(self) -> None:
        scale = 1.0 / self._now
        self._now = 1.0
        for sums in self._sums.values():
            sums[0] *= scale
            sums[1] *= scale * scale
            sums[2] *= scale


class RecentQuantiles:
    """Quantiles of positive numbers, within a relative error.

    Numbers are counted in buckets whose borders grow by one factor, so that a bucket's middle is within `error` of all
    it holds (DDSketch: Masson, Rim and Lee, 2019).

    Args:
        half_life: as in `Recent`.
        low, high: what is below or above counts as these.
        error: relative.
    """

    def __init__(
        self, half_life: float, *, low: float = 1e-4, high: float = 1e5, error: float = 0.02
    ) -> None:
        self._low, self._high = low, high
        self._step = math.log((1 + error) / (1 - error))
        self._middle = 1 - error  # of a bucket, as a share of its upper border
        self._buckets = Recent(half_life)

    def add(self, value: float) -> None:
        """One observation; NaN is none."""
        if value == value:
            self._buckets.add(math.ceil(math.log(min(max(value, self._low), self._high)) / self._step))

    def quantile(self, q: float) -> float:
        """The smallest value with at least the share q of the weight at or below it; NaN without any."""
        weights = sorted((int(bucket), weight) for bucket, weight in self._buckets.weights().items())
        aim, upto = q * math.fsum(weight for _, weight in weights), 0.0
        for bucket, weight in weights:
            upto += weight
            if upto >= aim * (1 - 1e-12):
                return math.exp(bucket * self._step) * self._middle
        return math.nan


def wilson(share: float, n: float, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a share seen in n trials (n may be fractional), 95 % by default.

    Returns:
        Its ends in [0, 1]; (0, 1) where nothing is known.
    """
    if not n or share != share:
        return 0.0, 1.0
    square = z * z / n
    middle = (share + square / 2) / (1 + square)
    half = z * math.sqrt(share * (1 - share) / n + square / (4 * n)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)
