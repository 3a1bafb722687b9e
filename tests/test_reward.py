"""Rewards are finite, ordered as the ratings are, and inside what trainers clip at."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrm_reward.errors import ConfigError
from rrm_reward.rating import RATINGS, make_rating
from rrm_reward.reward import SCALES, make_reward
from rrm_reward.types import FloatArray, Outcome, Ratings

moderate = settings(max_examples=80, deadline=None)

RANGE = {
    "win_rate": (0.0, 1.0),
    "placement": (0.0, 1.0),
    "elo": (500.0, 2500.0),
    "bradley_terry": (-9.0, 9.0),
}
"""Values that the rating can have; ratings that are not listed are tried from -9 to 9."""


@st.composite
def rated(draw: st.DrawFn) -> tuple[str, FloatArray]:
    """A rating's name and values that it may give, equal and unknown ones among them."""
    name = draw(st.sampled_from(sorted(RATINGS)))
    value = st.floats(*RANGE.get(name, (-9.0, 9.0)))
    some = draw(st.lists(value, min_size=1, max_size=6))
    return name, np.array(draw(st.lists(st.sampled_from([*some, np.nan]), max_size=12)), dtype=np.float64)


def reward(scale: str, name: str, value: FloatArray, clip: float = 5.0) -> FloatArray:
    return make_reward(scale, clip)(make_rating(name), Ratings(value, np.full_like(value, np.nan)))


@given(st.sampled_from(sorted(SCALES)), rated(), st.floats(0.01, 10))
@moderate
def test_a_better_rating_never_gets_less_and_equal_ones_get_the_same(
    scale: str, named: tuple[str, FloatArray], clip: float
) -> None:
    name, value = named
    rewards = reward(scale, name, value, clip)
    assert rewards.shape == value.shape
    np.testing.assert_array_equal(np.isnan(rewards), np.isnan(value))
    known = ~np.isnan(value)
    assert (abs(rewards[known]) <= clip).all()
    for a, b in itertools.combinations(np.flatnonzero(known), 2):
        if value[a] == value[b]:
            assert rewards[a] == rewards[b]
        elif value[a] < value[b]:
            assert rewards[a] <= rewards[b] + 1e-12
        else:
            assert rewards[a] >= rewards[b] - 1e-12


@given(st.sampled_from(sorted(SCALES)), rated())
@moderate
def test_unknown_members_change_nothing_for_the_others(scale: str, named: tuple[str, FloatArray]) -> None:
    name, value = named
    known = ~np.isnan(value)
    np.testing.assert_array_equal(reward(scale, name, value)[known], reward(scale, name, value[known]))


@pytest.mark.parametrize("name", RATINGS)
@pytest.mark.parametrize("scale", SCALES)
def test_the_widest_ratings_of_a_group_of_16_are_not_cut_by_the_default(scale: str, name: str) -> None:
    outcomes = [Outcome(i, j, 1.0, round=i) for i, j in itertools.combinations(range(16), 2)]
    ratings = make_rating(name)(16, outcomes)
    rewards = make_reward(scale)(make_rating(name), ratings)
    assert abs(rewards).max() < 5
    np.testing.assert_allclose(rewards, make_reward(scale, 1e6)(make_rating(name), ratings))


def test_natural_rewards_are_what_the_page_says() -> None:
    assert reward("natural", "win_rate", np.array([0.0, 0.5, 1.0])).tolist() == [-1, 0, 1]
    assert reward("natural", "placement", np.array([0.0, 0.25, 1.0])).tolist() == [-1, -0.5, 1]
    assert reward("natural", "elo", np.array([1300.0, 1500.0, 1900.0])).tolist() == [-0.5, 0, 1]
    assert reward("natural", "bradley_terry", np.array([-2.0, 0.0, 2.5])).tolist() == [-2, 0, 2.5]


def test_win_probability_follows_elos_formula() -> None:
    assert reward("win_probability", "elo", np.array([1900.0]))[0] == pytest.approx(10 / 11)
    assert reward("win_probability", "bradley_terry", np.array([np.log(3)]))[0] == pytest.approx(0.75)
    assert reward("win_probability", "win_rate", np.array([0.3]))[0] == 0.3


def test_zscores_have_mean_0_and_deviation_1_and_rounding_is_no_deviation() -> None:
    rewards = reward("zscore", "elo", np.array([1400.0, 1500.0, np.nan, 1750.0]))
    assert np.nanmean(rewards) == pytest.approx(0)
    assert np.nanstd(rewards) == pytest.approx(1)
    assert reward("zscore", "elo", np.array([1500.0, 1500.0 + 1e-9])).tolist() == [0, 0]
    assert reward("zscore", "elo", np.array([1700.0])).tolist() == [0]


def test_ranks_run_from_minus_1_to_1_and_ties_share_the_middle() -> None:
    assert reward("rank", "elo", np.array([1.0, 3.0, 2.0])).tolist() == [-1, 1, 0]
    assert reward("rank", "elo", np.array([7.0, 7.0, 9.0])).tolist() == [-0.5, -0.5, 1]
    assert reward("rank", "elo", np.array([7.0])).tolist() == [0]
    assert reward("rank", "elo", np.array([7.0, 7.0])).tolist() == [0, 0]


@pytest.mark.parametrize("clip", [0, -1, float("nan"), float("inf"), "5", None])
def test_a_clip_that_cannot_work_is_refused(clip: object) -> None:
    with pytest.raises(ConfigError) as caught:
        make_reward("natural", clip)  # type: ignore[arg-type]
    assert caught.value.key == "reward.clip"


def test_an_unknown_scale_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(ConfigError, match="did you mean zscore") as caught:
        make_reward("z_score")
    assert caught.value.key == "reward.scale"
