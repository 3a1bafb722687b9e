"""The Bradley-Terry likelihood and its maximum, with a Gaussian prior.

Strengths s in log-odds; P(i beats j) = sigma(d), d = s_i - s_j + offset (Bradley and Terry 1952). What is
maximised is

    sum over matches w [p log sigma(d) + (1 - p) log sigma(-d)]  -  sum over responses s^2 / (2 prior^2)

The prior makes it strictly concave: one maximum, finite for unbeaten and winless responses and for responses
that no chain of matches connects. As the likelihood sees differences only, the prior alone fixes the level,
and the strengths of every connected part sum to zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rrm_reward.types import FloatArray


@dataclass(frozen=True, slots=True)
class Comparisons:
    """Comparisons as columns, shape (m,) each.

    Attributes:
        i, j: players.
        p: share of i, in [0, 1].
        weight: how many comparisons the row counts as.
        offset: log-odds in favour of i that are not i's merit.
    """

    i: np.ndarray[Any, np.dtype[np.intp]]
    j: np.ndarray[Any, np.dtype[np.intp]]
    p: FloatArray
    weight: FloatArray
    offset: FloatArray


def sigmoid(x: FloatArray) -> FloatArray:
    """Logistic function, without overflow anywhere."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)), dtype=np.float64)


def maximise(n: int, rows: Comparisons, prior: float) -> tuple[FloatArray, FloatArray]:
    """Posterior mode and covariance of the strengths.

    Newton's method with step halving (Boyd and Vandenberghe 2004, 9.5): on a strictly concave function with
    bounded curvature it converges from anywhere. Usually four to six steps.

    Args:
        n: number of players.
        rows: the comparisons; players without one stay at 0 with the prior's variance.
        prior: standard deviation of a strength, in log-odds.

    Returns:
        Strengths, shape (n,), and the inverse Hessian there (Laplace's approximation), shape (n, n).
    """
    s = np.zeros(n)
    precision = 1 / prior**2
    value = _objective(s, rows, precision)
    for _ in range(100):
        q = sigmoid(s[rows.i] - s[rows.j] + rows.offset)
        residual = rows.weight * (rows.p - q)
        gradient = (
            np.bincount(rows.i, residual, minlength=n)
            - np.bincount(rows.j, residual, minlength=n)
            - precision * s
        )
        hessian = _hessian(n, rows, q, precision)
        step = np.linalg.solve(hessian, gradient)
        decrement = float(gradient @ step)
        # Convergence is quadratic: from here the full step lands within rounding of the mode.
        if decrement < 1e-12:
            s = s + step
            break
        length = 1.0
        while (new := _objective(s + length * step, rows, precision)) < value + 1e-4 * length * decrement:
            length /= 2
        s, value = s + length * step, new
    q = sigmoid(s[rows.i] - s[rows.j] + rows.offset)
    covariance: FloatArray = np.linalg.inv(_hessian(n, rows, q, precision)).astype(np.float64, copy=False)
    return s, covariance


def _objective(s: FloatArray, rows: Comparisons, precision: float) -> float:
    d = s[rows.i] - s[rows.j] + rows.offset
    return float(rows.weight @ (rows.p * d - np.logaddexp(0, d)) - precision / 2 * (s @ s))


def _hessian(n: int, rows: Comparisons, q: FloatArray, precision: float) -> FloatArray:
    """Minus the second derivative: a weighted graph Laplacian plus the prior's precision."""
    curvature = rows.weight * q * (1 - q)
    adjacent = np.bincount(rows.i * n + rows.j, curvature, minlength=n * n).reshape(n, n)
    adjacent = adjacent + adjacent.T
    return np.asarray(np.diag(adjacent.sum(axis=1) + precision) - adjacent, dtype=np.float64)
