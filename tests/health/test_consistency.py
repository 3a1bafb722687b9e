"""Contradictions of a judge, each against the plainest way to count them."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrm_reward.health._consistency import agreement, flipped, flips_between_matches, tally, triads
from rrm_reward.health._group import decided, length_correlation
from rrm_reward.rating import make_rating
from rrm_reward.reward import make_reward
from rrm_reward.types import NoVerdict, Outcome, Ratings, Verdict, Vote

VERDICTS = st.sampled_from([Verdict(1), Verdict(2), Verdict(None, NoVerdict.TRUNCATED)])
VOTES = st.lists(st.builds(Vote, st.booleans(), VERDICTS), max_size=12)


def verdicts(votes, i_first) -> list[int]:
    return [v.verdict.choice for v in votes if v.i_first == i_first and v.verdict.choice is not None]


@settings(max_examples=50)
@given(VOTES)
def test_agreement_is_that_of_all_pairs(votes) -> None:
    for order, i_first in zip(tally(votes), (True, False), strict=True):
        pairs = list(itertools.combinations(verdicts(votes, i_first), 2))
        expected = sum(a == b for a, b in pairs) / len(pairs) if pairs else None
        assert agreement(order) == (None if expected is None else pytest.approx(expected))


@settings(max_examples=50)
@given(VOTES)
def test_an_order_that_decides_is_a_flip(votes) -> None:
    winners = []
    for i_first in (True, False):
        seen = verdicts(votes, i_first)
        lead = sum(1 if (choice == 1) == i_first else -1 for choice in seen)
        winners.append("i" if lead > 0 else "j" if lead < 0 else None)
    expected = None if None in winners else winners[0] != winners[1]
    assert flipped(votes) is expected


@st.composite
def matches(draw) -> list[Outcome]:
    """Of a group of three, with single votes or both orders in one match."""
    rows = draw(st.lists(st.tuples(st.sampled_from([(0, 1), (1, 0), (1, 2), (2, 0)]), VOTES), max_size=8))
    return [Outcome(i, j, 0.5, tuple(votes[:2])) for (i, j), votes in rows]


@settings(max_examples=60)
@given(matches())
def test_two_matches_of_a_pair_in_swapped_orders_flip_as_one_match_in_both_orders_does(outcomes) -> None:
    """The naive twin says who won each pair in each order, by name."""
    expected = []
    for pair in ((0, 1), (1, 2), (0, 2)):
        met = [o for o in outcomes if {o.i, o.j} == set(pair)]
        if len(met) < 2 or any(flipped(o.votes) is not None for o in met):
            continue
        lead = {first: 0 for first in pair}
        for o in met:
            for v in o.votes:
                first, second = (o.i, o.j) if v.i_first else (o.j, o.i)
                if v.verdict.choice is not None:
                    winner = first if v.verdict.choice == 1 else second
                    lead[first] += 1 if winner == pair[0] else -1
        if all(lead.values()):
            expected.append(lead[pair[0]] * lead[pair[1]] < 0)
    assert sorted(flips_between_matches(outcomes)) == sorted(expected)


@st.composite
def groups(draw) -> tuple[int, list[Outcome]]:
    n = draw(st.integers(1, 7))
    pairs = st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda pair: pair[0] != pair[1])
    rows = (
        draw(st.lists(st.tuples(pairs, st.sampled_from([0.0, 0.25, 0.5, 1.0, None])), max_size=25))
        if n > 1
        else []
    )
    return n, [Outcome(i, j, p) for (i, j), p in rows]


def count_triads(n: int, outcomes: list[Outcome]) -> tuple[int, int]:
    """The naive twin."""
    margin = {pair: 0.0 for pair in itertools.permutations(range(n), 2)}
    for outcome in outcomes:
        if outcome.p is not None:
            margin[outcome.i, outcome.j] += outcome.p - 0.5
            margin[outcome.j, outcome.i] -= outcome.p - 0.5
    circles = triples = 0
    for a, b, c in itertools.combinations(range(n), 3):
        signs = (margin[a, b], margin[b, c], margin[c, a])
        if all(signs):
            triples += 1
            circles += all(sign > 0 for sign in signs) or all(sign < 0 for sign in signs)
    return circles, triples


@settings(max_examples=50)
@given(groups())
def test_circles_and_triples_are_counted_one_by_one(group) -> None:
    assert triads(*group) == count_triads(*group)


@settings(max_examples=30)
@given(groups(), st.randoms())
def test_circles_do_not_depend_on_who_is_called_what(group, rng: random.Random) -> None:
    n, outcomes = group
    names = list(range(n))
    rng.shuffle(names)
    assert triads(n, [Outcome(names[o.i], names[o.j], o.p) for o in outcomes]) == triads(n, outcomes)


def test_a_judge_with_a_scale_makes_no_circles_and_coins_make_one_in_four() -> None:
    rng = random.Random(0)
    pairs = list(itertools.combinations(range(60), 2))
    assert triads(60, [Outcome(i, j, 1.0) for i, j in pairs]) == (0, 60 * 59 * 58 // 6)
    circles, triples = triads(60, [Outcome(i, j, float(rng.random() < 0.5)) for i, j in pairs])
    assert circles / triples == pytest.approx(0.25, abs=0.01)


def test_of_a_huge_group_a_part_is_looked_at() -> None:
    assert triads(10_000, [Outcome(0, 1, 1.0), Outcome(9998, 9999, 0.0)]) == (0, 0)


# Rewards and lengths of one group

NUMBERS = st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 300)), min_size=3, max_size=12)


@settings(max_examples=50)
@given(NUMBERS)
def test_correlation_is_that_of_numpy(rows) -> None:
    rewards, lengths = np.array([r / 10 for r, _ in rows]), [n for _, n in rows]
    use = np.array(lengths) > 0
    found = length_correlation(rewards, lengths)
    if use.sum() < 3 or np.ptp(rewards[use]) == 0 or np.ptp(np.array(lengths)[use]) == 0:
        assert found is None
    else:
        assert found == pytest.approx(np.corrcoef(rewards[use], np.array(lengths)[use])[0, 1], abs=1e-9)


def test_two_members_follow_each_other_always_and_say_nothing() -> None:
    assert length_correlation(np.array([0.0, 1.0]), [10, 20]) is None
    assert length_correlation(np.array([0.0, 1.0, np.nan]), [10, 20, 30]) is None
    assert length_correlation(np.array([0.0, 1.0, 2.0]), [10, 20, 30]) == pytest.approx(1.0)


def test_unknown_rewards_and_absent_members_count_nothing() -> None:
    rewards = np.array([0.0, 1.0, 2.0, np.nan, 9.0])
    assert length_correlation(rewards, [1, 2, 3, 50, 0]) == pytest.approx(1.0)
    assert length_correlation(rewards, ()) is None


@pytest.mark.parametrize(
    ("name", "value", "stderr", "share"),
    [
        # Posterior means: var(m) / (var(m) + mean(v)).
        ("bradley_terry", [-1.0, 1.0], [0.5, 0.5], 0.8),
        ("bradley_terry", [-1.0, 1.0], [2.0, 2.0], 0.2),
        ("bradley_terry", [1.0, 1.0], [0.1, 0.1], 0.0),
        ("elo", [-1.0, 1.0, np.nan], [0.0, 0.0, np.nan], 1.0),
        ("elo", [-1.0, 1.0], [np.nan, np.nan], None),
        ("elo", [1.0], [0.1], None),
        # Estimates, of variance 1/50 by n - 1 = 1 degrees: B = 1 - 0.01 / 0.02, then B / 100 / (B / 100 + 0.01).
        ("win_rate", [0.4, 0.6], [0.1, 0.1], 1 / 3),
        ("win_rate", [0.4, 0.6], [0.2, 0.2], 0.0),
    ],
)
def test_a_group_is_as_decided_as_its_spread_is_known(name, value, stderr, share) -> None:
    ratings, rating = Ratings(np.array(value), np.array(stderr)), make_rating(name)
    found = decided(ratings, rating)
    assert found == (share if share is None else pytest.approx(share))
    if found is not None:  # the root mean square of the scale of this name
        rewards = make_reward("decided", clip=9.0)(rating, ratings)
        assert np.nanmean(rewards**2) == pytest.approx(found)
