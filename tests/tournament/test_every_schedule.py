"""Promises of every schedule in the registry; a new one is found here by itself."""

from __future__ import annotations

import doctest
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rrm_reward.tournament
from rrm_reward.errors import ConfigError
from rrm_reward.rating import RATINGS, check_rating
from rrm_reward.tournament import SCHEDULES, check_schedule, default_rating, make_tournament
from rrm_reward.types import Outcome

from .playing import drawn_verdicts, outcome_of, play, play_in_any_order, schedules

seeds = st.integers(0, 2**32)
KNOWN_BEFOREHAND = ("round_robin", "circular", "anchor")
"""Schedules whose pairs depend on no verdict, so that their orders can be balanced for all at once."""

moderate = settings(max_examples=100, deadline=None)


@given(schedules(), seeds, st.floats(0, 0.5))
@moderate
def test_ends_whatever_comes_when_and_hands_out_each_match_once(
    schedule: dict[str, Any], chance: int, leaving: float
) -> None:
    tournament = make_tournament(**schedule)
    verdict = drawn_verdicts(chance)
    matches = play_in_any_order(tournament, random.Random(chance), verdict, leaving=leaving)
    assert max(Counter((m.i, m.j, m.round) for m in matches).values(), default=1) == 1
    assert len(matches) <= tournament.planned
    assert all(m.i != m.j and m.depth >= 1 and m.round >= 0 for m in matches)
    assert Counter((o.i, o.j, o.round) for o in tournament.outcomes) == Counter(
        (m.i, m.j, m.round) for m in matches
    )
    assert tournament.ready() == []


@given(schedules(), seeds, st.data())
@moderate
def test_the_order_of_arrivals_and_verdicts_changes_nothing(
    schedule: dict[str, Any], chance: int, data: st.DataObject
) -> None:
    gone = frozenset(data.draw(st.sets(st.integers(0, max(schedule["n"] - 1, 0)), max_size=3)))
    gone = frozenset(i for i in gone if i < schedule["n"])
    verdict = drawn_verdicts(chance)
    at_once = play(verdict=verdict, gone=gone, **schedule)
    tournament = make_tournament(**schedule)
    play_in_any_order(tournament, random.Random(chance), verdict, gone=gone)
    assert set(tournament.outcomes) == set(at_once.outcomes)


@given(schedules())
@moderate
def test_plays_what_it_planned_if_everybody_comes_and_every_verdict_is_clear(
    schedule: dict[str, Any],
) -> None:
    tournament = play(**schedule)
    if schedule["name"] == "swiss" and schedule["options"].get("rounds", 3) > schedule["n"] // 2:
        # So late in a Swiss tournament, those who have not met yet cannot always all be paired.
        assert len(tournament.outcomes) >= tournament.planned // 2
    else:
        assert len(tournament.outcomes) == tournament.planned
    assert (schedule["n"] < 2) == (tournament.planned == 0)


@given(schedules())
@moderate
def test_everybody_who_comes_plays_if_there_is_anybody_to_play(schedule: dict[str, Any]) -> None:
    players = {i for outcome in play(**schedule).outcomes for i in (outcome.i, outcome.j)}
    assert players == (set(range(schedule["n"])) if schedule["n"] > 1 else set())


@given(schedules(), st.data())
@moderate
def test_a_budget_is_never_exceeded_and_too_small_a_one_is_refused(
    schedule: dict[str, Any], data: st.DataObject
) -> None:
    budget = data.draw(st.integers(1, 60))
    needed = refused(schedule, budget)
    assert needed is None or needed > budget
    budget = needed or budget
    assert refused(schedule, budget) is None
    tournament = play(budget=budget, **schedule)
    assert len(tournament.outcomes) <= tournament.planned <= budget


def refused(schedule: dict[str, Any], budget: int) -> int | None:
    """What the budget should be at least, if it is refused."""
    try:
        make_tournament(budget=budget, **schedule)
    except ConfigError as error:
        return int(error.fix.split("at least ")[1].split()[0]) if error.key == "tournament.budget" else 0
    return None


@given(schedules(), seeds)
@moderate
def test_everybody_is_assistant_1_in_about_half_of_its_matches(schedule: dict[str, Any], chance: int) -> None:
    lead: Counter[int] = Counter()
    for outcome in play(verdict=drawn_verdicts(chance), **schedule).outcomes:
        lead[outcome.i] += 1
        lead[outcome.j] -= 1
    most = 1 if schedule["name"] in KNOWN_BEFOREHAND else 3
    assert max(map(abs, lead.values()), default=0) <= most


@pytest.mark.parametrize("name", SCHEDULES)
def test_who_was_assistant_1_less_often_is_so_where_the_next_match_depends_on_verdicts(name: str) -> None:
    for seed in range(20):
        lead: Counter[int] = Counter()
        for outcome in sorted(play(name, 11, seed=seed).outcomes, key=lambda o: o.round):
            # the first rounds of adaptive (a ring: 0 of odd n) are known beforehand
            if name not in KNOWN_BEFOREHAND and (name != "adaptive" or outcome.round > 0):
                assert lead[outcome.i] <= lead[outcome.j]
            lead[outcome.i] += 1
            lead[outcome.j] -= 1


@given(schedules(), seeds)
@moderate
def test_a_match_is_at_least_as_deep_as_the_chain_that_follows_it(
    schedule: dict[str, Any], chance: int
) -> None:
    tournament = make_tournament(**schedule)
    for i in range(schedule["n"]):
        tournament.add(i)
    last: dict[int, int] = {}
    while matches := tournament.ready():
        assert all(match.depth < last.get(i, 10_000) for match in matches for i in (match.i, match.j))
        for match in matches:
            last[match.i] = last[match.j] = match.depth
            tournament.record(outcome_of(match, drawn_verdicts(chance)))


@given(schedules(), seeds)
@moderate
def test_the_best_wins_all_its_matches_under_a_perfect_judge(schedule: dict[str, Any], best: int) -> None:
    best %= max(schedule["n"], 1)
    tournament = play(verdict=lambda a, b, round: float(abs(a - best) < abs(b - best)), **schedule)
    for outcome in tournament.outcomes:
        assert best not in (outcome.i, outcome.j) or (outcome.p == 1) == (outcome.i == best)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_match_that_is_not_being_played_cannot_be_recorded(name: str) -> None:
    tournament = make_tournament(name, 4, seed=0)
    for i in range(4):
        tournament.add(i)
    with pytest.raises(ValueError, match="not being played"):
        tournament.record(Outcome(0, 1, 1.0))  # not fetched yet
    match = tournament.ready()[0]
    for p in (1.5, -0.1, float("nan")):
        with pytest.raises(ValueError, match="share of votes"):
            tournament.record(Outcome(match.i, match.j, p, round=match.round))
    tournament.record(Outcome(match.i, match.j, 1.0, round=match.round))
    with pytest.raises(ValueError, match="not being played"):
        tournament.record(Outcome(match.i, match.j, 1.0, round=match.round))
    with pytest.raises(ValueError, match="slot 4"):
        tournament.add(4)


@pytest.mark.parametrize("name", SCHEDULES)
def test_all_withdrawn_is_done_without_a_match(name: str) -> None:
    tournament = make_tournament(name, 5, seed=0)
    for i in range(5):
        assert not tournament.done
        tournament.withdraw(i)
        tournament.withdraw(i)
        tournament.add(i)  # too late: changes nothing
    assert tournament.done
    assert tournament.ready() == []


@pytest.mark.parametrize("name", SCHEDULES)
def test_seeds_give_different_draws_that_favour_nobody(name: str) -> None:
    met: Counter[frozenset[int]] = Counter()
    first: Counter[int] = Counter()
    for seed in range(600):
        for outcome in play(name, 4, seed=seed).outcomes:
            if outcome.round == 0:
                met[frozenset((outcome.i, outcome.j))] += 1
                first[outcome.i] += 1
    assert len(met) == 6
    assert max(met.values()) < 1.35 * min(met.values())
    assert max(first.values()) < 1.35 * min(first.values())


@pytest.mark.parametrize("name", SCHEDULES)
def test_its_own_rating_is_one_that_is_defined_for_it(name: str) -> None:
    assert default_rating(name) in RATINGS
    check_rating(default_rating(name), schedule=name)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_group_of_200_is_no_trouble(name: str) -> None:
    tournament = play(name, 200)
    assert len(tournament.outcomes) == tournament.planned >= 199


@pytest.mark.parametrize(
    ("name", "options", "budget", "key"),
    [
        ("knokout", {}, None, "tournament.name"),
        ("knockout", {"consolations": True}, None, "tournament.options.consolations"),
        ("knockout", {"consolation": 1}, None, "tournament.options.consolation"),
        ("round_robin", {"k": 4}, None, "tournament.options.k"),
        ("circular", {"k": 3}, None, "tournament.options.k"),
        ("circular", {"k": 0}, None, "tournament.options.k"),
        ("circular", {"k": "4"}, None, "tournament.options.k"),
        ("circular", {"k": True}, None, "tournament.options.k"),
        ("swiss", {"rounds": 1}, None, "tournament.options.rounds"),
        ("anchor", {"anchors": 1.5}, None, "tournament.options.anchors"),
        ("swiss", {}, 0, "tournament.budget"),
        ("swiss", {}, 2.5, "tournament.budget"),
        ("swiss", {}, True, "tournament.budget"),
    ],
)
def test_what_cannot_work_is_refused_before_any_group_exists(
    name: str, options: dict[str, Any], budget: Any, key: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        check_schedule(name, options, budget)
    assert caught.value.key == key


def test_a_misspelt_schedule_is_answered_with_the_one_that_was_meant() -> None:
    with pytest.raises(ConfigError, match="did you mean knockout"):
        check_schedule("knokout")
    with pytest.raises(ConfigError, match="did you mean consolation"):
        check_schedule("knockout", {"consolations": True})


def test_the_example_on_the_package_page_runs() -> None:
    assert doctest.testmod(rrm_reward.tournament).failed == 0


def test_a_group_of_less_than_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        make_tournament("knockout", -1, seed=0)
