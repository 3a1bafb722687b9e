"""The judge's preference for Assistant 1, learnt while a run goes on.

    position = PositionBias()
    ratings = rate(n, outcomes, position.belief)  # what all earlier groups taught
    position.update(n, outcomes)                  # and what this one adds

Balanced orders make a position bias cost nobody in particular, but it is still noise: at 2.4 log-odds half of all
verdicts say no more than who came first. One group tells little of it; a run has thousands of groups and one judge.

**What is kept** is a Gaussian belief about b, the log-odds that Assistant 1 has for being it. A closed group's
outcomes are explained by its strengths and b together (`_strength`), the belief so far being the prior of b; the
marginal of b in that posterior is the new belief. This is assumed-density filtering with Laplace's approximation
(Bishop 2006, 4.4 and 10.7), a group at a time.

The joint mode of strengths and b is not quite where the marginal of b has its own: with n unknown strengths in every
group there are as many nuisance parameters as evidence (Neyman and Scott 1948). The marginal is, by Laplace's
approximation over the strengths, the profile less log det H_ss / 2, and one Newton step from the joint mode goes there.

**Drift.** The judge stays, but the policy's responses change, and with them what the judge makes of a position. Before
every group the variance grows by ``drift`` squared, a random walk, so that old groups are slowly forgotten.

**When.** A group uses the belief of the moment it is closed, without what it teaches itself. That depends on which
groups were faster, so it is written down with the result (`GroupResult.position`): outcomes and belief give the same
rewards again.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from rrm_reward.errors import ConfigError
from rrm_reward.rating._strength import Comparisons, Model, Posterior, comparisons, maximise, sigmoid
from rrm_reward.types import Outcome, PositionBelief

logger = logging.getLogger(__name__)

DEVIATION: Final = 1.5
"""Of the belief before any group: judges with a bias of 3 log-odds (95 % for one side among equals) exist."""

DRIFT: Final = 0.01
"""Log-odds a group; after 1,000 groups a third of a log-odd."""

SAVE_SECONDS: Final = 5.0
"""Between two writes of the file: what a SIGKILL can lose."""

_DEFAULT: Final = Model()


class PositionBias:
    """A belief about the position term, updated with every closed group; see the module's text.

    Args:
        belief: to begin with; by default a vague one.
        drift: standard deviation, in log-odds, of what the term may change by from group to group.
        model: of strengths and votes, as in the rating.
        path: a JSON file to go on from and to keep up to date, beside the run's checkpoints or output; see `load`.

    Attributes:
        belief: after all groups so far.
        groups: how many taught something.
    """

    def __init__(
        self,
        belief: PositionBelief | None = None,
        *,
        drift: float = DRIFT,
        model: Model = _DEFAULT,
        path: str | Path | None = None,
    ) -> None:
        self.belief = PositionBelief(0.0, DEVIATION) if belief is None else belief
        self.groups = 0
        self._drift = drift
        self._model = model
        self._path = None if path is None else Path(path)
        self._saved = (-math.inf, 0)
        self._complained = False

    def update(self, n: int, outcomes: Sequence[Outcome]) -> None:
        """Learn from a closed group of n responses; one without a verdict in a known order teaches nothing.

        Neither does one that cannot be explained (an outcome that is NaN): a belief that is no number would stay so.
        """
        rows = comparisons(outcomes, self._model.vote_correlation)
        if rows is None or not rows.order.any() or not np.isfinite(rows.p).all():
            return
        prior = PositionBelief(self.belief.mean, math.hypot(self.belief.deviation, self._drift))
        fit = maximise(n, rows, self._model.prior, prior)
        mean = fit.position.mean + fit.position.deviation**2 * _marginal_score(n, rows, fit)
        if not (math.isfinite(mean) and math.isfinite(fit.position.deviation)):
            return
        self.belief = PositionBelief(mean, fit.position.deviation)
        self.groups += 1
        if time.monotonic() - self._saved[0] >= SAVE_SECONDS:
            self.save()

    def state(self) -> dict[str, float]:
        """What `restore` takes; plain numbers."""
        return {"mean": self.belief.mean, "deviation": self.belief.deviation, "groups": float(self.groups)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state`.

        Raises:
            ValueError: it is none.
        """
        mean, deviation = float(state["mean"]), float(state["deviation"])
        if not (math.isfinite(mean) and math.isfinite(deviation) and deviation >= 0):
            raise ValueError(f"no belief: mean {mean}, deviation {deviation}")
        self.belief = PositionBelief(mean, deviation)
        self.groups = int(state["groups"])

    def snapshot(self) -> dict[str, float]:
        """For a trainer's log: ``position_bias`` and ``position_bias_stderr`` in log-odds, ``position_groups``."""
        return {
            "position_bias": self.belief.mean,
            "position_bias_stderr": self.belief.deviation,
            "position_groups": float(self.groups),
        }

    def save(self) -> None:
        """Write `state` to the file, if there is one and anything is new. A file that cannot be written is reported.

        A reader sees the old file or the new one, never half of one.
        """
        if self._path is None or self._saved[1] == self.groups:
            return
        self._saved = (time.monotonic(), self.groups)
        part = self._path.with_name(f"{self._path.name}.{os.getpid()}.part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(self.state()) + "\n")
            part.replace(self._path)
        except OSError as error:
            if not self._complained:
                logger.error(
                    "position.path: %s cannot be written (%s); the run goes on without it", self._path, error
                )
            self._complained = True

    def load(self) -> None:
        """Go on from the file, if there is one.

        Raises:
            ConfigError: the file holds no belief.
        """
        if self._path is None:
            return
        try:
            self.restore(json.loads(self._path.read_text()))
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            fix = f"is no saved position bias ({error!r}); remove it to learn afresh"
            raise ConfigError("position.path", str(self._path), fix) from error
        self._saved = (time.monotonic(), self.groups)


def _marginal_score(n: int, rows: Comparisons, fit: Posterior) -> float:
    """Derivative by b of -log det H_ss / 2 along the profile, at the joint mode.

    Only curvature moves: c = w q (1 - q) of a row changes by c (1 - 2q) times that of its margin, which is order
    plus what the strengths follow by, ds/db = S_sb / S_bb. The trace of H_ss^-1 dH_ss is then a sum over rows of that
    times the variance of s_i - s_j at fixed b.
    """
    covariance = fit.covariance
    follow = covariance[:n, n] / covariance[n, n]
    given_b = covariance[:n, :n] - np.outer(follow, covariance[:n, n])
    q = sigmoid(fit.strength[rows.i] - fit.strength[rows.j] + fit.position.mean * rows.order)
    moved = rows.weight * q * (1 - q) * (1 - 2 * q) * (rows.order + follow[rows.i] - follow[rows.j])
    variance = np.diag(given_b)
    spread = variance[rows.i] + variance[rows.j] - 2 * given_b[rows.i, rows.j]
    return -0.5 * float(moved @ spread)
