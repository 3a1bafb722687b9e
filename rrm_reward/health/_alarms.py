"""When health is worth a warning, and what to do then. Each warning is given once a run."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from rrm_reward.config import HealthConfig

logger = logging.getLogger(__name__)

ENOUGH_VOTES, ENOUGH_GROUPS = 200, 16
"""What must have been seen before anything is said."""

_NO_VERDICT_FIX = {
    "truncated": "raise judge.max_tokens, or let the judge force a verdict out of what was cut off",
    "unparseable": "it is a wrong tokenizer or chat template of the judge, or not an RRM",
    "contradictory": "it is a judge that was not trained on this prompt, or too high a judge.temperature",
    "error": "requests fail: look at the judge's own log, then at judge.timeout and arena.concurrency",
}


class Alarms:
    """Thresholds, and which of them were crossed.

    Args:
        settings: the thresholds; None in one of them leaves its alarm out.

    Attributes:
        rung: the names of the alarms that were given, in that order.
    """

    def __init__(self, settings: HealthConfig) -> None:
        self._settings = settings
        self.rung: list[str] = []

    def check(self, gauges: Mapping[str, float], *, votes: float, groups: float) -> None:
        """Warn of what is wrong now and was not told before.

        Args:
            gauges: as `Health.gauges` gives them.
            votes: how many of them the gauges rest on.
            groups: the same of groups.
        """
        if votes >= ENOUGH_VOTES:
            self._check_verdicts(gauges)
            self._check_bias(gauges)
        if groups >= ENOUGH_GROUPS:
            self._check_length(gauges)

    def _check_verdicts(self, gauges: Mapping[str, float]) -> None:
        limit, share = self._settings.max_no_verdict, gauges["rrm/no_verdict"]
        if limit is not None and share > limit:
            reason = max(_NO_VERDICT_FIX, key=lambda name: gauges[f"rrm/no_verdict/{name}"])
            what = f"{share:.0%} of the judge's votes hold no verdict, mostly {reason}"
            self._ring("no_verdict", limit, what, _NO_VERDICT_FIX[reason])

    def _check_bias(self, gauges: Mapping[str, float]) -> None:
        limit, share = self._settings.max_position_bias, gauges["rrm/first_share"]
        low, high = gauges["rrm/first_share_low"], gauges["rrm/first_share_high"]
        if limit is not None and (low > 0.5 + limit or high < 0.5 - limit):
            what = f"the judge prefers Assistant 1 in {share:.0%} of its verdicts"
            self._ring(
                "position_bias", limit, what, "ask both orders (judge.order=both), or rate by bradley_terry"
            )
        limit, jump = self._settings.max_bias_jump, gauges["rrm/first_share_jump"]
        # Half the width of the interval: a jump must be more than what chance makes of two such shares.
        if limit is not None and abs(jump) > limit + (high - low) / 2:
            what = f"the share of verdicts for Assistant 1 moved by {jump:+.0%} to {share:.0%}"
            fix = (
                "responses may have learnt to address the judge (read some), or have become equally good, or the judge "
                "was exchanged"
            )
            self._ring("bias_jump", limit, what, fix)

    def _check_length(self, gauges: Mapping[str, float]) -> None:
        limit, drift = self._settings.max_length_drift, gauges["rrm/length_drift"]
        if limit is not None and (drift > limit or drift < 1 / limit):
            fix = (
                f"their reward follows length by a correlation of {gauges['rrm/length_correlation']:+.2f}: if that is "
                "not 0, the judge rewards length itself; read some responses, and cap them"
            )
            self._ring(
                "length_drift", limit, f"responses are {drift:.2g} times as long as at the beginning", fix
            )

    def _ring(self, name: str, limit: float, what: str, fix: str) -> None:
        if name not in self.rung:
            self.rung.append(name)
            logger.warning("judge health: %s; %s (health.max_%s=%g; told once)", what, fix, name, limit)
