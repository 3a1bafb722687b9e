"""`rating.options.position`: a number fixes the term, and 0 is a number."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize

from rrm_reward.build import build_arena
from rrm_reward.config import load
from rrm_reward.errors import ConfigError
from rrm_reward.rating import make_rating, position_bias
from rrm_reward.types import FloatArray
from tests.rating.test_position import a_group

POINTS = 400 / math.log(10)
FIXED = [0, 0.0, -0.0, 0.3, -2.0]


def settings_of(*more: str) -> list[str]:
    return ["judge.model=m", "judge.urls=[http://127.0.0.1:1/v1]", *more]


@pytest.mark.parametrize("fixed", FIXED)
@pytest.mark.parametrize("name", ["bradley_terry", "elo"])
def test_a_number_fixes_the_term_whatever_it_is(name: str, fixed: float) -> None:
    assert position_bias(name, {"position": fixed}) is None
    assert position_bias(name, {"position": fixed}, learn=False) is None
    with pytest.raises(ConfigError) as caught:
        position_bias(name, {"position": fixed}, learn=True)
    assert caught.value.key == "position.learn"
    assert position_bias(name, {}) is not None


@pytest.mark.parametrize(("given", "learns"), [("", True), ("position: 0", False), ("position: 0.4", False)])
def test_an_arena_learns_the_term_unless_the_settings_give_one(given: str, learns: bool) -> None:
    arena = build_arena(load(overrides=settings_of("rating.name=elo", f"rating.options={{{given}}}")))
    assert ("position_bias" in arena.snapshot()) == learns


@pytest.mark.parametrize("name", ["bradley_terry", "elo"])
@pytest.mark.parametrize("given", ["null", "false", "true", "yes please"])
def test_what_is_no_number_is_refused_at_start_up(name: str, given: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_arena(
            load(overrides=settings_of(f"rating.name={name}", f"rating.options={{position: {given}}}"))
        )
    assert caught.value.key == "rating.options.position"


@pytest.mark.parametrize("fixed", FIXED)
def test_with_a_fixed_term_ratings_are_the_maximum_that_an_optimiser_finds(fixed: float) -> None:
    outcomes = a_group(np.random.default_rng(1), np.array([1.0, 0.0, -1.0, 0.5]), 2.0)

    def cost(s: FloatArray) -> float:
        total = s @ s / (2 * 1.5**2)
        for o in outcomes:
            d = s[o.i] - s[o.j] + (fixed if o.votes[0].i_first else -fixed)
            total += float(np.logaddexp(0, -d if o.p else d))
        return float(total)

    oracle = minimize(cost, np.zeros(4), method="BFGS", options={"gtol": 1e-8}).x
    strengths = make_rating("bradley_terry", options={"position": fixed})(4, outcomes).value
    points = make_rating("elo", options={"position": fixed * POINTS})(4, outcomes).value
    np.testing.assert_allclose(strengths, oracle, atol=1e-5)
    np.testing.assert_allclose((points - 1500) / POINTS, oracle, atol=1e-5)
