"""When a warning is given, by the numbers alone."""

from __future__ import annotations

from collections import defaultdict

import pytest

from rrm_reward.config import HealthConfig
from rrm_reward.health._alarms import ENOUGH_GROUPS, ENOUGH_VOTES, Alarms

FAIR = {"rrm/first_share": 0.5, "rrm/first_share_low": 0.45, "rrm/first_share_high": 0.55}


def rung(votes: float = ENOUGH_VOTES, groups: float = ENOUGH_GROUPS, **gauges: float) -> list[str]:
    """The alarms of a judge that is well but for these gauges."""
    alarms = Alarms(
        HealthConfig(max_bias_jump=0.2, max_position_bias=0.15, max_length_drift=2.0, max_no_verdict=0.1)
    )
    healthy = {**FAIR, "rrm/length_drift": 1.0}
    told = defaultdict(float, healthy | {f"rrm/{name}": value for name, value in gauges.items()})
    alarms.check(told, votes=votes, groups=groups)
    return alarms.rung


@pytest.mark.parametrize("sign", [1, -1])
def test_a_jump_counts_from_where_chance_no_longer_explains_it(sign: int) -> None:
    """Beyond the limit by more than half the width of the interval, which is 0.05 here."""
    assert rung(first_share_jump=sign * 0.24) == []
    assert rung(first_share_jump=sign * 0.26) == ["bias_jump"]
    sure = {"first_share_low": 0.499, "first_share_high": 0.501}
    assert rung(first_share_jump=sign * 0.24, **sure) == ["bias_jump"]


@pytest.mark.parametrize(("drift", "told"), [(1.9, False), (2.1, True), (0.52, False), (0.48, True)])
def test_lengths_that_shrink_are_told_as_those_that_grow(drift: float, told: bool) -> None:
    assert rung(length_drift=drift) == ["length_drift"] * told


@pytest.mark.parametrize(
    ("low", "high", "told"), [(0.66, 0.7, True), (0.64, 0.7, False), (0.3, 0.34, True), (0.3, 0.36, False)]
)
def test_a_bias_to_either_side_is_told_when_the_whole_interval_is_beyond(
    low: float, high: float, told: bool
) -> None:
    found = rung(first_share=(low + high) / 2, first_share_low=low, first_share_high=high)
    assert found == ["position_bias"] * told


def test_nothing_is_said_before_enough_was_seen() -> None:
    ill = {"first_share_jump": 0.9, "length_drift": 9.0, "no_verdict": 0.9}
    assert rung(ENOUGH_VOTES - 1, ENOUGH_GROUPS - 1, **ill) == []
    assert rung(ENOUGH_VOTES, ENOUGH_GROUPS - 1, **ill) == ["no_verdict", "bias_jump"]
    assert rung(ENOUGH_VOTES - 1, ENOUGH_GROUPS, **ill) == ["length_drift"]
