"""What a match would tell: the expected reduction of the ratings' posterior variance.

The ratings that advantages are made of are strengths less their mean. Given what was played, strengths and position
term have a Laplace posterior with covariance S (`rating._strength`). One more comparison with direction
c = e_i - e_j + order e_b and curvature w = q (1 - q) makes it S - w S c c' S / (1 + w c'Sc) (Sherman and Morrison
1950), so the summed variance of the centred strengths falls by

    gain = w |C S c|^2 / (1 + w c'Sc),        C = centring of the strengths

whoever wins. It is also the expected squared change of the centred ratings by that match (law of total variance), so
what a round can still gain bounds how far the advantages can still be expected to move. q is the predictive
probability, the logistic averaged over the posterior of the margin (MacKay 1992, eq. 10), so that a pair of which
little is known counts as open.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from rrm_reward.rating._strength import Posterior, sigmoid
from rrm_reward.types import FloatArray

_PI_8: Final = np.pi / 8


class Information:
    """A posterior that is thinned out as matches are chosen, before any of them is played.

    Args:
        posterior: of the strengths and the position term.
        order: what a match adds for its first response: 1 if that is Assistant 1, 0 if both orders are asked.
    """

    def __init__(self, posterior: Posterior, order: float = 1.0) -> None:
        self._n = n = len(posterior.strength)
        self._order = order
        strength = posterior.strength
        self._margin = strength[:, None] - strength[None, :] + order * posterior.position.mean
        self._covariance = posterior.covariance.copy()
        centred = self._covariance[:n] - self._covariance[:n].mean(axis=0)
        # Of every match with direction c, shape (n, n): c'Sc and |C S c|^2.
        self._variance = self._quadratic(self._covariance)
        self._reach = self._quadratic(centred.T @ centred)

    @property
    def left(self) -> float:
        """Summed variance of the centred strengths."""
        s = self._covariance[: self._n, : self._n]
        return float(np.trace(s) - s.sum() / self._n)

    def gains(self) -> FloatArray:
        """Expected gain of every match, shape (n, n): the row is the first response. The diagonal means nothing."""
        weight = self._weights()
        gains: FloatArray = weight * self._reach / (1 + weight * self._variance)
        return gains

    def take(self, i: int, j: int) -> None:
        """Reckon with this match's result, whatever it will be; n^2 operations."""
        s = self._covariance
        along = s[i] - s[j] + self._order * s[-1]
        weight = float(self._weights(i, j))
        scale = weight / (1 + weight * float(self._variance[i, j]))
        seen = self._linear(along)
        centred = along - along[:-1].mean()
        centred[-1] = 0.0
        # |C S c - scale C along (along'c)|^2, multiplied out
        self._reach += (
            scale * seen * (scale * float(centred @ centred) * seen - 2 * self._linear(s @ centred))
        )
        self._variance -= scale * seen**2
        s -= np.outer(along, scale * along)

    def _linear(self, vector: FloatArray) -> FloatArray:
        """c'v for the direction c of every match, shape (n, n)."""
        n = self._n
        pairs: FloatArray = (vector[:n] + self._order * vector[n])[:, None] - vector[None, :n]
        return pairs

    def _quadratic(self, matrix: FloatArray) -> FloatArray:
        """c' M c for the direction c of every match, shape (n, n); M is symmetric."""
        n, order = self._n, self._order
        own = np.diag(matrix)[:n]
        # The first response and its position move together: c = (e_i + order e_b) - e_j.
        first = own + 2 * order * matrix[:n, n] + order**2 * matrix[n, n]
        cross = matrix[:n, :n] + order * matrix[n, :n][None, :]
        pairs: FloatArray = first[:, None] + own[None, :] - 2 * cross
        return pairs

    def _weights(self, i: int | slice = slice(None), j: int | slice = slice(None)) -> FloatArray:
        q = sigmoid(self._margin[i, j] / np.sqrt(1 + _PI_8 * self._variance[i, j]))
        return np.asarray(q * (1 - q), dtype=np.float64)
