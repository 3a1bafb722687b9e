"""What a match would tell about the ratings.

Advantages are made of strengths less their mean, and it matters most who is above whom. Given what was played,
strengths and position term have a Laplace posterior with covariance S (`rating._strength`). A match has the direction
c = e_i - e_j + order e_b and the curvature w = q (1 - q); played, it leaves S - w S c c' S / (1 + w c'Sc) (Sherman and
Morrison 1950), whoever wins. What falls is

    uncertainty U = sum over pairs of  W_kl Var(s_k - s_l)  =  tr(L S),
    gain of a match = w c'S L S c / (1 + w c'Sc)

with L the Laplacian of the weights W. With equal weights 1/n, U is the summed variance of the strengths less their
mean, and the gain the expected squared change of those by the match (law of total variance). For the choice of matches
W_kl is the posterior density of s_k = s_l: how likely a small change of the difference turns the two round. Pairs that
are far apart need not be known better than that. (Equal weights ordered simulated groups worse.)

q is the predictive probability, the logistic averaged over the posterior of the margin (MacKay 1992, eq. 10), so that a
pair of which little is known counts as open. It stays what it is at the beginning of a round, for no result is known
before its end. (To narrow the margin with every match chosen takes longer and was not seen to order better.)
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
        margin = strength[:, None] - strength[None, :] + order * posterior.position.mean
        self._covariance = s = posterior.covariance.copy()
        self._metric = np.zeros((n + 1, n + 1))
        self._metric[:n, :n] = _contested(strength, s[:n, :n])
        # Of every match with direction c, shape (n, n): c'Sc, c'S L S c, w.
        self._variance = self._quadratic(s)
        self._reach = self._quadratic(s @ self._metric @ s)
        q = sigmoid(margin / np.sqrt(1 + _PI_8 * self._variance))
        self._weight = q * (1 - q)

    @property
    def variance(self) -> float:
        """Summed variance of the strengths less their mean."""
        s = self._covariance[: self._n, : self._n]
        return float(np.trace(s) - s.sum() / self._n)

    def gains(self) -> FloatArray:
        """Gain of every match, shape (n, n): the row is the first response. The diagonal means nothing."""
        gains = self._weight * self._variance
        gains += 1
        np.divide(self._reach, gains, out=gains)
        gains *= self._weight
        return gains

    def take(self, i: int, j: int) -> None:
        """Reckon with this match's result, whatever it will be; some ten passes over n^2 numbers."""
        s = self._covariance
        along = s[i] - s[j] + self._order * s[-1]
        weight = float(self._weight[i, j])
        scale = weight / (1 + weight * float(self._variance[i, j]))
        felt = self._metric @ along
        # c'S L S c with S less scale along along', multiplied out; what is linear in c is added up before it is spread.
        seen = self._linear(along)
        turned = self._linear(scale * (scale * float(along @ felt) * along - 2 * (s @ felt)))
        turned *= seen
        self._reach += turned
        seen *= seen
        seen *= scale
        self._variance -= seen
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


def _contested(strength: FloatArray, covariance: FloatArray) -> FloatArray:
    """Laplacian of the pairs' weights, shape (n, n), with a trace of n - 1 as equal weights 1/n would have."""
    n = len(strength)
    variance = np.diag(covariance)
    spread = variance[:, None] + variance[None, :] - 2 * covariance + np.eye(n)
    weight = np.exp(-((strength[:, None] - strength[None, :]) ** 2) / (2 * spread)) / np.sqrt(spread)
    np.fill_diagonal(weight, 0.0)
    laplacian = np.diag(weight.sum(axis=1)) - weight
    # Never 0: the prior keeps every difference uncertain. Tiny weights of a group far apart are scaled up all the same.
    return np.asarray(laplacian * ((n - 1) / max(np.trace(laplacian), 1e-300)), dtype=np.float64)
