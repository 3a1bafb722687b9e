"""Forgetful means, shares and quantiles are what the plain weighted sums say, and their memory is bounded."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrm_reward.health._recent import Recent, RecentQuantiles, wilson

OBSERVATIONS = st.lists(st.tuples(st.sampled_from("abc"), st.floats(-1e3, 1e3)), min_size=1, max_size=60)
HALF_LIVES = st.sampled_from([0.02, 1.0, 7.0, 1000.0])


def weigh(count: int, half_life: float) -> list[float]:
    """The naive twin: halved by each half life of later observations."""
    return [0.5 ** ((count - 1 - k) / half_life) for k in range(count)]


@settings(max_examples=50)
@given(OBSERVATIONS, HALF_LIVES)
def test_means_shares_and_effective_numbers_are_weighted_sums(seen, half_life) -> None:
    recent = Recent(half_life)
    for key, value in seen:
        recent.add(key, value)
    weights = weigh(len(seen), half_life)
    for keys in ("a", "ab", "abc"):
        mine = [(w, v) for w, (key, v) in zip(weights, seen, strict=True) if key in keys]
        total, squares = sum(w for w, _ in mine), sum(w * w for w, _ in mine)
        # What is so old that its weight has vanished may be remembered or not.
        if total < 1e-30:
            continue
        assert recent.mean(*keys) == pytest.approx(sum(w * v for w, v in mine) / total, rel=1e-9, abs=1e-9)
        assert recent.share(keys, "abc") == pytest.approx(total / sum(weights), rel=1e-9)
        assert recent.effective(*keys) == pytest.approx(total**2 / squares, rel=1e-9)


@given(st.lists(st.tuples(st.floats(0, 9), st.floats(0.5, 9)), min_size=1, max_size=20))
def test_a_ratio_is_that_of_sums_and_not_of_means(pairs) -> None:
    recent = Recent(1e12)
    for part, whole in pairs:
        recent.add("part", part)
        recent.add("whole", whole)
    expected = sum(part for part, _ in pairs) / sum(whole for _, whole in pairs)
    assert recent.ratio("part", "whole") == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_nothing_seen_is_nan_and_never_an_error() -> None:
    recent = Recent(10)
    assert math.isnan(recent.mean("a"))
    assert math.isnan(recent.share("a", "ab"))
    assert math.isnan(recent.ratio("a", "b"))
    assert recent.effective("a") == 0
    assert math.isnan(RecentQuantiles(10).quantile(0.5))


def test_thousands_of_observations_neither_overflow_nor_grow() -> None:
    recent, quantiles = Recent(0.3), RecentQuantiles(3.0)
    for k in range(10_000):
        recent.add("ab"[k % 2], 1.0)
        quantiles.add(1e-6 * 1.01**k % 1e7)
    assert recent.share("a", "ab") == pytest.approx(2**-3.333 / (1 + 2**-3.333), rel=0.01)
    assert len(quantiles._buckets.weights()) < 600


def test_what_was_long_ago_is_forgotten() -> None:
    recent = Recent(10)
    for value in [1.0] * 500 + [0.0] * 100:
        recent.add("a", value)
    assert recent.mean("a") == pytest.approx(2**-10, rel=0.01)


@given(st.lists(st.floats(1e-3, 1e4), min_size=1, max_size=60), st.floats(0.01, 1.0))
def test_a_quantile_is_within_two_percent_of_the_exact_one(values, q) -> None:
    quantiles = RecentQuantiles(1e12)
    for value in values:
        quantiles.add(value)
    # The exact one, for weights that are all the same: the ceil(q n)-th smallest, on either side of a rounded q n.
    ranks = [math.ceil(q * len(values) + rounding) for rounding in (-1e-6, 1e-6)]
    exact = [sorted(values)[min(max(rank, 1), len(values)) - 1] for rank in ranks]
    found = quantiles.quantile(q)
    assert any(found == pytest.approx(value, rel=0.0201) for value in exact)


@pytest.mark.parametrize("value", [0.0, -1.0, 1e99, math.inf])
def test_what_is_out_of_range_is_counted_at_its_end(value) -> None:
    quantiles = RecentQuantiles(10)
    quantiles.add(value)
    assert quantiles.quantile(0.5) == pytest.approx(1e5 if value > 1 else 1e-4, rel=0.03)


def test_a_time_that_nobody_knows_is_not_counted() -> None:
    quantiles = RecentQuantiles(10)
    quantiles.add(math.nan)
    assert math.isnan(quantiles.quantile(0.5))


@given(st.floats(0, 1), st.floats(0.5, 1e6))
def test_the_ends_of_the_interval_are_where_the_share_is_just_too_far(share, n) -> None:
    for end in wilson(share, n):
        assert 0 <= end <= 1
        # Wilson (1927): |share - end| = z sqrt(end (1 - end) / n).
        assert (share - end) ** 2 == pytest.approx(1.96**2 * end * (1 - end) / n, rel=1e-6, abs=1e-9)


def test_without_trials_the_interval_is_everything() -> None:
    assert wilson(math.nan, 0) == (0, 1)
