"""Promises of every rating in the registry; a new one is found here by itself."""

from __future__ import annotations

import doctest
import itertools
import random
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import rrm_reward.rating
from rrm_reward.errors import ConfigError
from rrm_reward.rating import RATINGS, Rating, check_rating, make_rating
from rrm_reward.tournament import SCHEDULES
from rrm_reward.types import NoVerdict, Outcome, Ratings, Verdict, Vote

from ..tournament.playing import drawn_verdicts, play, variants

moderate = settings(max_examples=60, deadline=None)


@st.composite
def ratings(draw: st.DrawFn, only: tuple[str, ...] | None = None) -> tuple[str, Rating]:
    """Any rating with any options."""
    name = draw(st.sampled_from(only or sorted(RATINGS)))
    options = draw(variants(RATINGS[name].OPTIONS))
    try:
        return name, make_rating(name, seed=draw(st.integers(0, 99)), options=options)
    except ConfigError:  # options that exclude each other
        return name, make_rating(name, seed=draw(st.integers(0, 99)))


@st.composite
def records(draw: st.DrawFn, name: str, schedule: str | None = None) -> tuple[int, list[Outcome]]:
    """A group's outcomes, from a schedule that the rating is defined for; missing ones and ties among them."""
    schedule = schedule or draw(st.sampled_from(RATINGS[name].SCHEDULES or sorted(SCHEDULES)))
    n = draw(st.integers(2, 9))
    seed = draw(st.integers(0, 10_000))
    options = draw(variants(SCHEDULES[schedule].OPTIONS))
    gone = frozenset(draw(st.sets(st.integers(0, n - 1), max_size=2)))
    outcomes = play(schedule, n, drawn_verdicts(seed), seed=seed, options=options, gone=gone).outcomes
    if draw(st.booleans()):
        outcomes = [with_votes(outcome, random.Random(f"{seed} {k}")) for k, outcome in enumerate(outcomes)]
    return n, outcomes


def with_votes(outcome: Outcome, rng: random.Random) -> Outcome:
    """The outcome with votes that say so, and one that says nothing."""
    nothing = Vote(rng.random() < 0.5, Verdict(None, NoVerdict.TRUNCATED))
    if outcome.p is None:
        return Outcome(outcome.i, outcome.j, None, (nothing,), outcome.round)
    votes = [nothing]
    for k in range(4):
        i_first, for_i = rng.random() < 0.5, k < round(outcome.p * 4)
        votes.append(Vote(i_first, Verdict(1 if i_first == for_i else 2)))
    return Outcome(outcome.i, outcome.j, outcome.p, tuple(votes), outcome.round)


def seen_from_j(outcome: Outcome) -> Outcome:
    """The same match with i and j exchanged."""
    votes = tuple(Vote(not vote.i_first, vote.verdict) for vote in outcome.votes)
    p = None if outcome.p is None else 1 - outcome.p
    return Outcome(outcome.j, outcome.i, p, votes, outcome.round)


def same(a: Ratings, b: Ratings, tolerance: float = 1e-6) -> None:
    np.testing.assert_allclose(a.value, b.value, rtol=0, atol=tolerance)
    np.testing.assert_allclose(a.stderr, b.stderr, rtol=0, atol=tolerance)


def rate(rating: Rating, n: int, outcomes: list[Outcome]) -> Ratings:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return rating(n, outcomes)


@given(ratings(), st.data())
@moderate
def test_a_response_is_rated_if_and_only_if_it_has_an_outcome(
    named: tuple[str, Rating], data: st.DataObject
) -> None:
    name, rating = named
    n, outcomes = data.draw(records(name))
    result = rate(rating, n, outcomes)
    rated = {i for o in outcomes if o.p is not None for i in (o.i, o.j)}
    for column in (result.value, result.stderr):
        assert column.shape == (n,)
        assert column.dtype == np.float64
    assert set(np.flatnonzero(np.isfinite(result.value))) == rated
    assert not np.isinf(result.value).any()
    known = result.stderr[np.isfinite(result.stderr)]
    assert set(np.flatnonzero(np.isfinite(result.stderr))) in (rated, set())
    assert (known > 0).all()


@given(ratings(), st.data())
@moderate
def test_relabelling_permutes_the_ratings_and_changes_nothing_else(
    named: tuple[str, Rating], data: st.DataObject
) -> None:
    name, rating = named
    n, outcomes = data.draw(records(name))
    label = np.array(data.draw(st.permutations(range(n))), dtype=int)
    renamed = [Outcome(label[o.i], label[o.j], o.p, o.votes, o.round) for o in outcomes]
    before, after = rate(rating, n, outcomes), rate(rating, n, renamed)
    same(before, Ratings(after.value[label], after.stderr[label]))


@given(ratings(), st.data())
@moderate
def test_which_of_the_two_is_called_i_changes_nothing(named: tuple[str, Rating], data: st.DataObject) -> None:
    name, rating = named
    n, outcomes = data.draw(records(name))
    turned = [seen_from_j(o) if data.draw(st.booleans()) else o for o in outcomes]
    same(rate(rating, n, outcomes), rate(rating, n, turned))


@given(ratings(), st.data())
@moderate
def test_the_order_of_outcomes_changes_nothing(named: tuple[str, Rating], data: st.DataObject) -> None:
    name, rating = named
    assume(getattr(rating, "mode", None) != "online")
    n, outcomes = data.draw(records(name))
    shuffled = data.draw(st.permutations(outcomes))
    a, b = rate(rating, n, outcomes), rate(rating, n, list(shuffled))
    same(a, b)
    np.testing.assert_array_equal(np.argsort(a.value, kind="stable"), np.argsort(b.value, kind="stable"))


@given(ratings(tuple(name for name in RATINGS if RATINGS[name].SCHEDULES is None)), st.data())
@moderate
def test_a_missing_outcome_is_as_good_as_none(named: tuple[str, Rating], data: st.DataObject) -> None:
    name, rating = named
    n, outcomes = data.draw(records(name))
    same(rate(rating, n, outcomes), rate(rating, n, [o for o in outcomes if o.p is not None]))


@given(ratings(), st.integers(1, 3), st.data())
@moderate
def test_members_who_met_nobody_change_nothing_for_the_others(
    named: tuple[str, Rating], more: int, data: st.DataObject
) -> None:
    name, rating = named
    n, outcomes = data.draw(records(name))
    alone, among = rate(rating, n, outcomes), rate(rating, n + more, outcomes)
    same(alone, Ratings(among.value[:n], among.stderr[:n]))
    assert np.isnan(among.value[n:]).all()


@given(ratings(), st.data())
@moderate
def test_losing_a_verdict_never_looks_like_a_loss(named: tuple[str, Rating], data: st.DataObject) -> None:
    """A response whose verdict goes missing is rated no lower than if it had lost that match."""
    name, rating = named
    n, outcomes = data.draw(records(name))
    assume(outcomes and outcomes[-1].p is not None)
    # The last one that came back: nothing later depends on it.
    last = max(range(len(outcomes)), key=lambda k: outcomes[k].round)
    match = outcomes[last]
    lost = [*outcomes[:last], Outcome(match.i, match.j, 0.0, round=match.round), *outcomes[last + 1 :]]
    missing = [*outcomes[:last], Outcome(match.i, match.j, None, round=match.round), *outcomes[last + 1 :]]
    a, b = rate(rating, n, missing).value[match.i], rate(rating, n, lost).value[match.i]
    assert np.isnan(a) or a >= b - 1e-9


@given(ratings(), st.data())
@moderate
def test_a_perfect_judge_over_all_pairs_gives_the_true_order(
    named: tuple[str, Rating], data: st.DataObject
) -> None:
    name, rating = named
    quality = data.draw(st.permutations(range(data.draw(st.integers(2, 9)))))
    n = len(quality)
    schedule, options = "round_robin", {}
    if RATINGS[name].SCHEDULES is not None:
        n = 1 << (n.bit_length() - 1)  # consolation plays for every place if there are no byes
        quality, schedule, options = sorted(quality, key=lambda q: q)[:n], "knockout", {"consolation": True}
    outcomes = play(schedule, n, lambda a, b, round: float(quality[a] > quality[b]), options=options).outcomes
    value = rate(rating, n, outcomes).value
    if schedule == "round_robin":
        for a, b in itertools.combinations(range(n), 2):
            assert (value[a] > value[b]) == (quality[a] > quality[b])
    assert np.argmax(value) == np.argmax(quality)
    assert np.argmin(value) == np.argmin(quality)
    assert len(set(value)) == n


@given(ratings(), st.data())
@moderate
def test_nothing_but_ties_is_neutral_for_all(named: tuple[str, Rating], data: st.DataObject) -> None:
    name, rating = named
    n = data.draw(st.integers(2, 9))
    assume(getattr(rating, "position", 0.0) == 0.0)
    outcomes = [Outcome(i, j, 0.5) for i, j in itertools.combinations(range(n), 2)]
    if RATINGS[name].SCHEDULES is None:
        np.testing.assert_array_equal(rate(rating, n, outcomes).value, np.full(n, rating.neutral))


@given(ratings(), st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=9))
@moderate
def test_expected_scores_rise_with_the_rating_and_are_even_at_neutral(
    named: tuple[str, Rating], values: list[float]
) -> None:
    _, rating = named
    low, high = (0.0, 1.0) if rating.spread == 0.5 else (-1e6, 1e6)
    expected = rating.expected(np.clip(np.sort(values), low, high))
    assert (np.diff(expected) >= 0).all()
    assert ((expected >= 0) & (expected <= 1)).all()
    assert rating.expected(np.array([rating.neutral]))[0] == pytest.approx(0.5)
    assert rating.spread > 0


@pytest.mark.parametrize("name", RATINGS)
def test_no_responses_and_no_outcomes_are_no_error(name: str) -> None:
    rating = make_rating(name)
    assert rate(rating, 0, []).value.shape == (0,)
    assert np.isnan(rate(rating, 3, []).value).all()
    assert np.isnan(rate(rating, 3, [Outcome(0, 1, None)]).value).all()


@pytest.mark.parametrize(
    ("name", "options", "key"),
    [
        ("eloo", {}, "rating.name"),
        ("elo", {"kk": 3}, "rating.options.kk"),
        ("elo", {"mode": "online", "k": 0}, "rating.options.k"),
        ("elo", {"mode": "online", "k": "32"}, "rating.options.k"),
        ("elo", {"k": 32}, "rating.options.k"),
        ("elo", {"mode": "online", "prior": 100}, "rating.options.prior"),
        ("elo", {"mode": "batch"}, "rating.options.mode"),
        ("elo", {"mode": "online", "repeats": 0}, "rating.options.repeats"),
        ("bradley_terry", {"prior": 0}, "rating.options.prior"),
        ("bradley_terry", {"prior": float("nan")}, "rating.options.prior"),
        ("bradley_terry", {"vote_correlation": 1.5}, "rating.options.vote_correlation"),
        ("win_rate", {"prior": 1.0}, "rating.options.prior"),
    ],
)
def test_what_cannot_work_is_refused_before_any_group_exists(
    name: str, options: dict[str, Any], key: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        check_rating(name, options)
    assert caught.value.key == key


def test_the_example_on_the_package_page_runs() -> None:
    assert doctest.testmod(rrm_reward.rating).failed == 0


def test_placement_is_refused_where_places_mean_nothing() -> None:
    check_rating("placement", schedule="knockout")
    with pytest.raises(ConfigError, match="bradley_terry"):
        check_rating("placement", schedule="round_robin")
