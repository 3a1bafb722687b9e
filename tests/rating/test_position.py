"""The judge's position bias: what is learnt of it, and what it is good for."""

from __future__ import annotations

import itertools
import json
import logging
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from rrm_reward.errors import ConfigError
from rrm_reward.rating import RATINGS, PositionBelief, PositionBias, make_rating, position_bias
from rrm_reward.rating._position import _marginal_score
from rrm_reward.rating._strength import Model, comparisons, maximise
from rrm_reward.types import FloatArray, Outcome, Verdict, Vote

moderate = settings(max_examples=40, deadline=None)


def verdict(i: int, j: int, i_first: bool, for_i: bool) -> Outcome:
    return Outcome(i, j, float(for_i), (Vote(i_first, Verdict(1 if for_i == i_first else 2)),))


def a_group(rng: np.random.Generator, strength: FloatArray, bias: float) -> list[Outcome]:
    """All pairs in random orders, judged by the model itself."""
    outcomes = []
    for i, j in itertools.combinations(range(len(strength)), 2):
        i_first = bool(rng.random() < 0.5)
        logit = strength[i] - strength[j] + (bias if i_first else -bias)
        outcomes.append(verdict(i, j, i_first, bool(rng.random() < 1 / (1 + math.exp(-logit)))))
    return outcomes


@st.composite
def groups(draw: st.DrawFn) -> tuple[int, list[Outcome]]:
    n = draw(st.integers(2, 6))
    match = st.tuples(st.integers(0, n - 1), st.integers(0, n - 1), st.booleans(), st.booleans())
    drawn = draw(st.lists(match.filter(lambda m: m[0] != m[1]), min_size=1, max_size=20))
    return n, [verdict(*m) for m in drawn]


@given(groups(), st.floats(-2, 2), st.floats(0.05, 3), st.floats(0.3, 3))
@moderate
def test_strengths_and_position_are_the_joint_maximum_that_an_optimiser_finds(
    group: tuple[int, list[Outcome]], mean: float, deviation: float, prior: float
) -> None:
    n, outcomes = group

    def cost(x: FloatArray) -> float:
        total = (x[:n] @ x[:n]) / (2 * prior**2) + (x[n] - mean) ** 2 / (2 * deviation**2)
        for o in outcomes:
            d = x[o.i] - x[o.j] + (x[n] if o.votes[0].i_first else -x[n])
            total += float(np.logaddexp(0, -d if o.p else d))
        return float(total)

    oracle = minimize(cost, np.zeros(n + 1), method="BFGS", options={"gtol": 1e-8}).x
    rows = comparisons(outcomes)
    assert rows is not None
    fit = maximise(n, rows, prior, PositionBelief(mean, deviation))
    np.testing.assert_allclose([*fit.strength, fit.position.mean], oracle, atol=1e-4)
    assert 0 < fit.position.deviation <= deviation * (1 + 1e-9)


@given(groups(), st.floats(-2, 2))
@moderate
def test_the_step_to_the_marginal_is_the_slope_of_the_log_determinant(
    group: tuple[int, list[Outcome]], mean: float
) -> None:
    n, outcomes = group
    rows = comparisons(outcomes)
    assert rows is not None
    fit = maximise(n, rows, 1.5, PositionBelief(mean, 1.0))

    def half_log_det(b: float) -> float:
        return float(np.linalg.slogdet(maximise(n, rows, 1.5, PositionBelief(b)).covariance[:n, :n])[1]) / 2

    b, h = fit.position.mean, 1e-3
    slope = (half_log_det(b + h) - half_log_det(b - h)) / (2 * h)
    assert _marginal_score(n, rows, fit) == pytest.approx(slope, abs=1e-4)


@pytest.mark.parametrize("bias", [0.0, 0.5, -2.4])
def test_it_finds_the_judges_bias_and_knows_how_well(bias: float) -> None:
    rng = np.random.default_rng(7)
    position = PositionBias(drift=0.0)
    before = position.belief.deviation
    for _ in range(200):
        position.update(8, a_group(rng, rng.normal(0, 1.5, 8), bias))
    assert position.groups == 200
    assert position.belief.deviation < before / 10
    assert abs(position.belief.mean - bias) < 0.1 + 3 * position.belief.deviation


def test_without_the_step_to_the_marginal_the_bias_is_underestimated() -> None:
    """Neyman and Scott: as many unknown strengths as evidence."""
    rng = np.random.default_rng(7)
    naive, position = PositionBelief(0.0, 1.5), PositionBias(drift=0.0)
    for _ in range(200):
        outcomes = a_group(rng, rng.normal(0, 1.5, 8), 2.4)
        rows = comparisons(outcomes)
        assert rows is not None
        naive = maximise(8, rows, 1.5, naive).position
        position.update(8, outcomes)
    assert abs(position.belief.mean - 2.4) < 0.5 * abs(naive.mean - 2.4)


def test_a_judge_that_changes_is_followed_only_with_drift() -> None:
    errors = {}
    for drift in (0.0, 0.1):
        rng = np.random.default_rng(1)
        position = PositionBias(drift=drift)
        for bias in (1.0, -1.0):
            for _ in range(100):
                position.update(6, a_group(rng, rng.normal(0, 1.5, 6), bias))
        errors[drift] = abs(position.belief.mean + 1.0)
    assert errors[0.1] < 0.4 < errors[0.0]


@given(groups(), st.randoms(use_true_random=False))
@moderate
def test_names_and_sides_of_responses_change_nothing(group: tuple[int, list[Outcome]], rng: object) -> None:
    n, outcomes = group
    turned = [
        Outcome(
            n - 1 - o.j,
            n - 1 - o.i,
            1 - float(o.p or 0),
            tuple(Vote(not v.i_first, v.verdict) for v in o.votes),
        )
        for o in reversed(outcomes)
    ]
    one, other = PositionBias(), PositionBias()
    one.update(n, outcomes)
    other.update(n, turned)
    assert one.belief.mean == pytest.approx(other.belief.mean, abs=1e-9)
    assert one.belief.deviation == pytest.approx(other.belief.deviation, abs=1e-9)


def test_a_group_without_a_verdict_in_a_known_order_teaches_nothing() -> None:
    position = PositionBias()
    before = position.belief
    position.update(3, [Outcome(0, 1, None), Outcome(0, 2, 1.0)])
    position.update(2, [])
    position.update(2, [replace(verdict(0, 1, True, True), p=math.nan)])
    assert (position.belief, position.groups) == (before, 0)


def test_with_the_term_ratings_of_a_biased_judge_are_nearer_the_truth_and_of_a_fair_one_no_further() -> None:
    rate = make_rating("bradley_terry")
    errors = {}
    for bias in (0.0, 2.0):
        rng = np.random.default_rng(3)
        position = PositionBias()
        found = []
        for _ in range(200):
            strength = rng.normal(0, 1.5, 8)
            outcomes = a_group(rng, strength, bias)
            centred = strength - strength.mean()
            found.append(
                [np.mean((rate(8, outcomes, b).value - centred) ** 2) for b in (None, position.belief)]
            )
            position.update(8, outcomes)
        errors[bias] = np.mean(found[20:], axis=0)
    assert errors[2.0][1] < 0.85 * errors[2.0][0]
    assert errors[0.0][1] < 1.02 * errors[0.0][0]


def test_a_certain_belief_fixes_the_term_and_a_vague_one_leaves_it_to_the_group() -> None:
    rate = make_rating("bradley_terry")
    outcomes = a_group(np.random.default_rng(0), np.array([1.0, 0.0, -1.0, 0.5]), 3.0)
    fixed = make_rating("bradley_terry", options={"position": 1.2})(4, outcomes)
    np.testing.assert_array_equal(rate(4, outcomes, PositionBelief(1.2)).value, fixed.value)
    nearly = rate(4, outcomes, PositionBelief(1.2, 1e-4)).value
    np.testing.assert_allclose(nearly, fixed.value, atol=1e-3)
    assert abs(rate(4, outcomes, PositionBelief(1.2, 2.0)).value - fixed.value).max() > 0.01


def test_elo_takes_the_belief_as_home_advantage() -> None:
    win = [verdict(0, 1, True, True)]
    online = make_rating("elo", options={"mode": "online", "k": 32})
    points = 400 / math.log(10)
    # E = 1 / (1 + 10^(-R / 400)) for a first player rated R points higher
    expected = 1 / (1 + math.exp(-1.5))
    assert online(2, win, PositionBelief(1.5)).value[0] == pytest.approx(1500 + 32 * (1 - expected))
    given_points = make_rating("elo", options={"mode": "online", "k": 32, "position": 1.5 * points})
    np.testing.assert_allclose(given_points(2, win).value, online(2, win, PositionBelief(1.5)).value)
    likely, strength = make_rating("elo"), make_rating("bradley_terry")
    belief = PositionBelief(1.0, 0.5)
    np.testing.assert_allclose(
        likely(2, win, belief).value - 1500, points * strength(2, win, belief).value, atol=1e-6
    )


@pytest.mark.parametrize("name", RATINGS)
def test_every_rating_learns_the_same_from_the_same_votes(name: str) -> None:
    rng = np.random.default_rng(3)
    position, expected = position_bias(name), PositionBias()
    assert position is not None
    for _ in range(50):
        outcomes = a_group(rng, rng.normal(0, 1.5, 6), 1.0)
        position.update(6, outcomes)
        expected.update(6, outcomes)
    assert position.belief.mean == pytest.approx(expected.belief.mean, abs=1e-9)
    assert abs(position.belief.mean - 1.0) < 4 * position.belief.deviation < 1.0


def test_it_is_learnt_unless_it_is_fixed_or_not_wanted() -> None:
    assert position_bias("bradley_terry", {"position": 0.3}) is None
    assert position_bias("bradley_terry", learn=False) is None
    assert position_bias("win_rate", learn=False) is None
    with pytest.raises(ConfigError) as caught:
        position_bias("bradley_terry", {"position": 0.3}, learn=True)
    assert caught.value.key == "position.learn"


@pytest.mark.parametrize(
    ("name", "options", "model"),
    [
        ("bradley_terry", {"prior": 0.5, "vote_correlation": 0.2}, Model(0.5, 0.2)),
        ("elo", {"prior": 0.5 * 400 / math.log(10)}, Model(0.5)),
        ("win_rate", {}, Model(1.5)),
    ],
)
def test_it_is_learnt_under_the_strengths_that_the_rating_assumes(
    name: str, options: dict[str, float], model: Model
) -> None:
    """The stronger responses may differ, the less a verdict says of the place: the oracle is the fit itself."""
    rng = np.random.default_rng(5)
    outcomes = [replace(o, votes=o.votes * 3) for o in a_group(rng, rng.normal(0, model.prior, 5), 1.0)]
    position = position_bias(name, options, drift=0.0)
    assert position is not None
    position.update(5, outcomes)
    rows = comparisons(outcomes, model.vote_correlation)
    assert rows is not None
    fit = maximise(5, rows, model.prior, PositionBelief(0.0, 1.5))
    assert position.belief.deviation == pytest.approx(fit.position.deviation, rel=1e-9)
    other = PositionBias(drift=0.0, model=Model(model.prior + 1.0, model.vote_correlation))
    other.update(5, outcomes)
    assert other.belief.deviation > position.belief.deviation


def test_a_saved_belief_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "position.json"
    position = PositionBias(path=path)
    rng = np.random.default_rng(0)
    for _ in range(5):
        position.update(4, a_group(rng, rng.normal(0, 1, 4), 1.0))
    position.save()
    assert [p.name for p in path.parent.iterdir()] == ["position.json"]
    later = PositionBias(path=path)
    later.load()
    assert (later.belief, later.groups) == (position.belief, 5)
    fresh = PositionBias(path=tmp_path / "none.json")
    fresh.load()
    assert fresh.groups == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"mean": 1}',
        '{"mean": NaN, "deviation": 1, "groups": 1}',
        '{"mean": 0, "deviation": -1, "groups": 1}',
    ],
)
def test_a_file_that_holds_no_belief_is_refused_at_start_up(tmp_path: Path, text: str) -> None:
    path = tmp_path / "position.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"position\.path"):
        PositionBias(path=path).load()


def test_a_file_that_cannot_be_written_is_reported_once_and_hurts_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    position = PositionBias(path=tmp_path / "file" / "position.json")
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            position.update(2, [verdict(0, 1, True, True)])
            position.save()
    assert len(caplog.records) == 1


def test_what_is_known_already_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "position.json"
    position = PositionBias(path=path)
    position.update(2, [verdict(0, 1, True, True)])
    position.save()
    path.unlink()
    position.save()
    assert not path.exists()
    position.update(2, [verdict(0, 1, True, True)])
    position.save()
    assert path.exists()


def test_the_state_is_plain_json() -> None:
    position = PositionBias()
    position.update(2, [verdict(0, 1, True, True)])
    again = PositionBias()
    again.restore(json.loads(json.dumps(position.state())))
    assert again.belief == position.belief
    assert position.belief.mean > 0
