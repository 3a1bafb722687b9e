"""Outcomes as the columns that strengths are fitted to."""

from __future__ import annotations

from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm_reward.rating._strength import Comparisons, comparisons
from rrm_reward.types import NoVerdict, Outcome, Verdict, Vote


def columns(rows: Comparisons | None) -> list[list[float]]:
    assert rows is not None
    return [column.tolist() for column in astuple(rows)]


@pytest.mark.parametrize("i_first", [True, False])
@pytest.mark.parametrize(
    ("choice", "soft"), [(1, None), (2, None), (None, 0.8)], ids=["first", "second", "forced"]
)
def test_one_vote_counts_as_much_as_the_same_vote_three_times(
    i_first: bool, choice: int | None, soft: float | None
) -> None:
    """One vote is read by a short cut, more are not; a match counts once, however many votes it had."""
    verdict = Verdict(choice) if choice else Verdict(None, NoVerdict.TRUNCATED)
    vote = Vote(i_first, verdict, soft=soft)
    once = Outcome(1, 0, vote.share_for_i, (vote,))
    thrice = replace(once, votes=(vote,) * 3)
    assert columns(comparisons([once])) == columns(comparisons([thrice]))
    expected = 0.0 if choice is None else 1.0 if i_first else -1.0
    assert columns(comparisons([once])) == [[1], [0], [vote.share_for_i], [1.0], [expected]]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.sampled_from([0.0, 0.3, 1.0, None]))))
def test_columns_are_the_outcomes_that_say_something_in_their_order(
    found: list[tuple[int, int, float | None]],
) -> None:
    rows = comparisons(Outcome(i, j, p) for i, j, p in found)
    told = [(i, j, p) for i, j, p in found if p is not None]
    if not told:
        assert rows is None
        return
    i, j, p, weight, order = columns(rows)
    assert list(zip(i, j, p, strict=True)) == told
    assert (weight, order) == ([1.0] * len(told), [0.0] * len(told))


def test_both_orders_of_a_match_are_two_rows_that_share_its_weight() -> None:
    votes = tuple(
        Vote(i_first, Verdict(choice)) for i_first, choice in ((True, 1), (True, 2), (True, 1), (False, 1))
    )
    rows = comparisons([Outcome(0, 1, 2 / 4, votes)], vote_correlation=0.5)
    assert rows is not None
    np.testing.assert_allclose(rows.p, [2 / 3, 0.0])
    np.testing.assert_allclose(rows.order, [1.0, -1.0])
    counts_as = 4 / (1 + 3 * 0.5)
    np.testing.assert_allclose(rows.weight, [counts_as * 3 / 4, counts_as / 4])
