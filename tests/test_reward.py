"""Rewards are finite, ordered as the ratings are, and inside what trainers clip at."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrm_reward.errors import ConfigError
from rrm_reward.rating import RATINGS, make_rating
from rrm_reward.rating._strength import comparisons, maximise
from rrm_reward.reward import SCALES, SHRINK, check_reward, make_reward, posterior
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


def reward(
    scale: str, name: str, value: FloatArray, clip: float = 5.0, shrink: str = "none", stderr: float = np.nan
) -> FloatArray:
    return make_reward(scale, clip, shrink)(make_rating(name), Ratings(value, np.full_like(value, stderr)))


@given(
    st.sampled_from(sorted(SCALES)),
    rated(),
    st.floats(0.01, 10),
    st.sampled_from(SHRINK),
    st.sampled_from([np.nan, 0.0, 0.2, 3.0]),
)
@moderate
def test_a_better_rating_never_gets_less_and_equal_ones_get_the_same(
    scale: str, named: tuple[str, FloatArray], clip: float, shrink: str, stderr: float
) -> None:
    name, value = named
    rewards = reward(scale, name, value, clip, shrink, stderr)
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


class TestJudgeNoise:
    def test_a_settled_group_gets_z_scores_and_one_that_is_all_noise_next_to_nothing(self) -> None:
        value = np.array([2.0, 0.5, -0.5, -2.0])
        zscore = reward("zscore", "bradley_terry", value)
        np.testing.assert_allclose(reward("decided", "bradley_terry", value, stderr=0.0), zscore)
        noisy = reward("decided", "bradley_terry", value, stderr=20.0)
        assert 0 < abs(noisy).max() < 0.11
        np.testing.assert_allclose(noisy / noisy[0], value / value[0])

    @given(st.lists(st.floats(-4, 4), min_size=2, max_size=12), st.floats(0.01, 5))
    @moderate
    def test_its_root_mean_square_is_the_root_of_the_reliability(
        self, values: list[float], stderr: float
    ) -> None:
        value = np.array(values)
        signal = float(np.mean((value - value.mean()) ** 2))
        found = reward("decided", "bradley_terry", value, clip=100.0, stderr=stderr)
        assert np.mean(found**2) == pytest.approx(signal / (signal + stderr**2), abs=1e-12)
        assert found.mean() == pytest.approx(0.0, abs=1e-12)

    def test_shrunk_win_rates_are_nearer_the_truth_where_the_judge_is_noisy(self) -> None:
        rng = np.random.default_rng(0)
        rating = make_rating("win_rate")
        raw, shrunk = [], []
        for _ in range(400):
            truth = rng.normal(0.5, 0.05, 8)
            value = truth + rng.normal(0, 0.15, 8)
            mean, variance = posterior(rating, value, np.full(8, 0.15))
            raw.append(np.mean((value - truth) ** 2))
            shrunk.append(np.mean((mean - truth) ** 2))
            assert (variance >= 0).all()
        assert np.mean(shrunk) < 0.5 * np.mean(raw)

    @given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(1, 12))
    @settings(max_examples=15, deadline=None)
    def test_decided_is_the_mean_over_the_spread_of_what_the_true_strengths_may_be(
        self, seed: int, n: int, matches: int
    ) -> None:
        """The oracle draws true strengths from the posterior and looks how far apart they lie."""
        rng = np.random.default_rng(seed)
        pairs = [rng.permutation(n)[:2].tolist() for _ in range(matches)]
        outcomes = [Outcome(i, j, float(rng.random() < 0.5)) for i, j in pairs]
        met = sorted({k for pair in pairs for k in pair})
        rows = comparisons(outcomes)
        assert rows is not None
        fit = maximise(n, rows, 1.5)
        draws = rng.multivariate_normal(fit.strength, fit.covariance[:n, :n], size=20_000)[:, met]
        centred = draws - draws.mean(axis=1, keepdims=True)
        expected = centred.mean(axis=0) / np.sqrt(np.mean(centred**2))
        rate = make_rating("bradley_terry")
        found = make_reward("decided")(rate, rate(n, outcomes))
        np.testing.assert_allclose(found[met], expected, atol=0.05)
        assert np.isnan(np.delete(found, met)).all()

    @given(st.lists(st.floats(0, 1), min_size=3, max_size=10), st.floats(0.02, 0.5))
    @settings(max_examples=40, deadline=None)
    def test_shrunk_estimates_are_the_means_of_the_posterior_on_a_grid(
        self, values: list[float], error: float
    ) -> None:
        """The oracle is Bayes' rule by sums: a normal prior of the variance that errors do not explain."""
        value = np.array(values)
        variance = float(value.var(ddof=1)) - error**2
        mean, posterior_variance = posterior(make_rating("win_rate"), value, np.full(len(value), error))
        if variance < 1e-3:
            assert np.ptp(mean) <= np.ptp(value)
            return
        grid = np.linspace(-5, 6, 20_001)
        for x, m, v in zip(value, mean, posterior_variance, strict=True):
            log = -((grid - value.mean()) ** 2) / (2 * variance) - (grid - x) ** 2 / (2 * error**2)
            weight = np.exp(log - log.max())
            weight /= weight.sum()
            assert m == pytest.approx(float(weight @ grid), abs=1e-6)
            assert v == pytest.approx(float(weight @ (grid - m) ** 2), abs=1e-6)

    @given(
        st.lists(st.floats(-4, 4), min_size=2, max_size=12),
        st.floats(0.01, 5),
        st.floats(1.01, 3),
        st.randoms(use_true_random=False),
    )
    @moderate
    def test_more_noise_pulls_a_group_together_and_never_reorders_it(
        self, values: list[float], stderr: float, factor: float, rng: random.Random
    ) -> None:
        for name in ("bradley_terry", "win_rate"):
            value = np.array(values) if name == "bradley_terry" else (np.array(values) + 4) / 8
            error = stderr if name == "bradley_terry" else stderr / 8
            less, more = (
                reward("decided", name, value, clip=100.0, stderr=e) for e in (error, factor * error)
            )
            assert (abs(more) <= abs(less) + 1e-9).all()
            order = np.argsort(value, kind="stable")
            assert (np.diff(less[order]) >= -1e-9).all()
            names = list(range(len(value)))
            rng.shuffle(names)
            again = reward("decided", name, value[names], clip=100.0, stderr=error)
            np.testing.assert_allclose(again, less[names], atol=1e-9)

    def test_estimates_without_error_and_posterior_means_stay_as_they_are(self) -> None:
        value = np.array([0.1, 0.4, 1.0])
        for name, stderr in (("win_rate", 0.0), ("bradley_terry", 0.7), ("elo", 90.0)):
            rating = make_rating(name)
            np.testing.assert_allclose(posterior(rating, value, np.full(3, stderr))[0], value, rtol=1e-12)

    def test_advantages_of_noisy_groups_are_nearer_the_truth_than_z_scores(self) -> None:
        """True advantages are z-scores of true strengths; groups differ in how far apart their responses are."""
        rng = np.random.default_rng(1)
        rate = make_rating("bradley_terry")
        errors: dict[str, list[float]] = {"zscore": [], "decided": []}
        for _ in range(300):
            strength = rng.normal(0, 1.5, 8)
            outcomes = []
            for k in range(8):
                i, j = k, (k + 1) % 8
                won = rng.random() < 1 / (1 + np.exp(strength[j] - strength[i]))
                outcomes.append(Outcome(i, j, float(won)))
            truth = (strength - strength.mean()) / strength.std()
            ratings = rate(8, outcomes)
            for scale, found in errors.items():
                found.append(float(np.mean((make_reward(scale)(rate, ratings) - truth) ** 2)))
        assert np.mean(errors["decided"]) < 0.9 * np.mean(errors["zscore"])

    def test_a_rating_without_standard_errors_is_refused_at_start_up(self) -> None:
        check_reward("decided", "none", make_rating("bradley_terry"))
        check_reward("natural", "none", make_rating("placement"))
        online = make_rating("elo", options={"mode": "online"})
        for scale, shrink, rating, key in (
            ("decided", "none", make_rating("placement"), "reward.scale"),
            ("natural", "stderr", online, "reward.shrink"),
        ):
            with pytest.raises(ConfigError) as caught:
                check_reward(scale, shrink, rating)
            assert caught.value.key == key
        with pytest.raises(ConfigError, match=r"reward\.shrink"):
            make_reward(shrink="james_stein")
