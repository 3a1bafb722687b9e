"""The Bradley-Terry likelihood and its maximum, with Gaussian priors.

Strengths s in log-odds; P(i beats j) = sigma(d), d = s_i - s_j + b order (Bradley and Terry 1952), where the
position term b is what the judge adds for Assistant 1 ("home advantage", Davidson and Beaver 1977) and order says
who that was: 1 for i, -1 for j. What is maximised is

    sum over matches w [p log sigma(d) + (1 - p) log sigma(-d)]
      - sum over responses s^2 / (2 prior^2)  -  (b - mean)^2 / (2 deviation^2)

The priors make it strictly concave: one maximum, finite for unbeaten and winless responses and for responses
that no chain of matches connects. As the likelihood sees differences only, the prior alone fixes the level,
and the strengths of every connected part sum to zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import numpy as np

from rrm_reward.types import FloatArray, Outcome, PositionBelief

PRIOR: Final = 1.5
"""Default standard deviation of strengths in log-odds. The better of two responses drawn from it wins 79 % of
the time, E sigma(|d|) over d ~ N(0, 2 prior^2), about as often as a pairwise judge is right on mixed pairs;
and an unbeaten response among 16 gets 3.03 from a round robin, well inside the default clip of 5."""

NO_BIAS: Final = PositionBelief(0.0, 0.0)

CERTAIN: Final = 1e-6
"""Deviation of a position term that no number of matches moves; its square would drown the other precisions."""


@dataclass(frozen=True, slots=True)
class Model:
    """What is assumed of strengths and votes.

    Attributes:
        prior: standard deviation of strengths, in log-odds.
        vote_correlation: of votes on one match; see `BradleyTerry`.
    """

    prior: float = PRIOR
    vote_correlation: float = 1.0


@dataclass(frozen=True, slots=True)
class Comparisons:
    """Comparisons as columns, shape (m,) each.

    Attributes:
        i, j: players.
        p: share of i, in [0, 1].
        weight: how many comparisons the row counts as.
        order: 1 where i was Assistant 1, -1 where j was, between them for a mean of both.
    """

    i: np.ndarray[Any, np.dtype[np.intp]]
    j: np.ndarray[Any, np.dtype[np.intp]]
    p: FloatArray
    weight: FloatArray
    order: FloatArray


@dataclass(frozen=True, slots=True)
class Posterior:
    """Strengths and position term, by Laplace's approximation.

    Attributes:
        strength: mode of the strengths, shape (n,).
        position: of the position term; as it was believed to be, if that was certain.
        covariance: inverse Hessian at the mode, shape (n + 1, n + 1); the position term comes last, 0 if certain.
    """

    strength: FloatArray
    position: PositionBelief
    covariance: FloatArray


def sigmoid(x: FloatArray) -> FloatArray:
    """Logistic function, without overflow anywhere."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)), dtype=np.float64)


def comparisons(outcomes: Iterable[Outcome], vote_correlation: float = 1.0) -> Comparisons | None:
    """Outcomes as columns; None if none of them says anything.

    Where an outcome's votes say who was Assistant 1, each order's votes enter with that order's share. If p was made
    from them otherwise (majority), p enters with their mean order. An outcome without votes counts as balanced.

    Args:
        outcomes: of a group's matches.
        vote_correlation: see `BradleyTerry`.
    """
    rows = [row for outcome in outcomes for row in _rows(outcome, vote_correlation)]
    if not rows:
        return None
    # Of a list of tuples numpy.array takes twice as long, and in a group of 256 this is a good part of the fit.
    flat = np.fromiter(chain.from_iterable(rows), np.float64, 5 * len(rows))
    i, j, p, weight, order = flat.reshape(-1, 5).T
    return Comparisons(i.astype(np.intp), j.astype(np.intp), p, weight, order)


def joined(parts: Sequence[Comparisons]) -> Comparisons | None:
    """All of them as one; None if there are none."""
    if not parts:
        return None
    columns = (np.concatenate([getattr(part, name) for part in parts]) for name in Comparisons.__slots__)
    return Comparisons(*columns)


def mean_order(outcome: Outcome) -> float:
    """1 if i was Assistant 1 in every vote with a verdict, -1 if j was, 0 if both were as often or nobody knows."""
    firsts = [vote.i_first for vote in outcome.votes if vote.for_i is not None]
    return 2 * sum(firsts) / len(firsts) - 1 if firsts else 0.0


def _rows(outcome: Outcome, correlation: float) -> list[tuple[int, int, float, float, float]]:
    """The outcome as rows of `Comparisons`, their weights summing to what the match counts as."""
    if outcome.p is None:
        return []
    i, j, p = outcome.i, outcome.j, outcome.p
    if len(outcome.votes) == 1:  # as below, in a fraction of the time: by far the most common match
        (vote,) = outcome.votes
        return [(i, j, p, 1.0, 0.0 if vote.for_i is None else 1.0 if vote.i_first else -1.0)]
    votes = [(vote.i_first, vote.for_i) for vote in outcome.votes if vote.for_i is not None]
    if not votes:
        return [(i, j, p, 1.0, 0.0)]
    count = len(votes)
    weight = count / (1 + (count - 1) * correlation)
    firsts = sum(i_first for i_first, _ in votes)
    if firsts in (0, count) or abs(sum(for_i for _, for_i in votes) / count - p) > 1e-9:
        return [(i, j, p, weight, 2 * firsts / count - 1)]
    rows = []
    for order in (True, False):
        in_order = [for_i for i_first, for_i in votes if i_first == order]
        share = len(in_order) / count
        rows.append((i, j, sum(in_order) / len(in_order), weight * share, 1.0 if order else -1.0))
    return rows


def maximise(
    n: int,
    rows: Comparisons | None,
    prior: float,
    position: PositionBelief = NO_BIAS,
    start: FloatArray | None = None,
) -> Posterior:
    """Posterior of the strengths and the position term.

    Newton's method with step halving (Boyd and Vandenberghe 2004, 9.5): on a strictly concave function with
    bounded curvature it converges from anywhere. Usually four to six steps.

    Args:
        n: number of players.
        rows: the comparisons; players without one stay at 0 with the prior's variance. None: there are none.
        prior: standard deviation of a strength, in log-odds.
        position: what is believed of the position term; a deviation of 0 (up to `CERTAIN`) fixes it.
        start: strengths near the mode, if known.
    """
    free = n + (position.deviation > CERTAIN)
    mean = np.zeros(n + 1)
    mean[n] = position.mean
    precision = np.full(n + 1, 1 / prior**2)
    precision[n] = 1 / position.deviation**2 if free > n else 0.0
    x = mean.copy()
    if start is not None:
        x[:n] = start
    if rows is None:
        return Posterior(mean[:n], position, np.diag([prior**2] * n + [position.deviation**2]))
    value = _objective(x, rows, mean, precision)
    for _ in range(100):
        q = sigmoid(_margin(x, rows))
        residual = rows.weight * (rows.p - q)
        gradient = -precision * (x - mean)
        gradient[:n] += np.bincount(rows.i, residual, minlength=n) - np.bincount(
            rows.j, residual, minlength=n
        )
        gradient[n] += residual @ rows.order
        step = np.zeros(n + 1)
        step[:free] = np.linalg.solve(_hessian(n, rows, q, precision)[:free, :free], gradient[:free])
        decrement = float(gradient @ step)
        # Convergence is quadratic: from here the full step lands within rounding of the mode.
        if decrement < 1e-12:
            x = x + step
            break
        length = 1.0
        while (
            new := _objective(x + length * step, rows, mean, precision)
        ) < value + 1e-4 * length * decrement:
            length /= 2
        x, value = x + length * step, new
    covariance = np.zeros((n + 1, n + 1))
    hessian = _hessian(n, rows, sigmoid(_margin(x, rows)), precision)
    covariance[:free, :free] = np.linalg.inv(hessian[:free, :free])
    return Posterior(x[:n], PositionBelief(float(x[n]), float(np.sqrt(covariance[n, n]))), covariance)


def _margin(x: FloatArray, rows: Comparisons) -> FloatArray:
    return np.asarray(x[rows.i] - x[rows.j] + x[-1] * rows.order, dtype=np.float64)


def _objective(x: FloatArray, rows: Comparisons, mean: FloatArray, precision: FloatArray) -> float:
    d = _margin(x, rows)
    return float(rows.weight @ (rows.p * d - np.logaddexp(0, d)) - precision @ (x - mean) ** 2 / 2)


def _hessian(n: int, rows: Comparisons, q: FloatArray, precision: FloatArray) -> FloatArray:
    """Minus the second derivative: a weighted graph Laplacian, bordered by the position term, plus the priors."""
    curvature = rows.weight * q * (1 - q)
    adjacent = np.bincount(rows.i * n + rows.j, curvature, minlength=n * n).reshape(n, n)
    adjacent = adjacent + adjacent.T
    hessian = np.diag(precision)
    hessian[:n, :n] += np.diag(adjacent.sum(axis=1)) - adjacent
    towards = curvature * rows.order
    border = np.bincount(rows.i, towards, minlength=n) - np.bincount(rows.j, towards, minlength=n)
    hessian[:n, n] = hessian[n, :n] = border
    hessian[n, n] += towards @ rows.order
    return np.asarray(hessian, dtype=np.float64)
