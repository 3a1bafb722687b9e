"""Plays tournaments in tests: at once, or in any order of arrivals, verdicts and withdrawals."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import strategies as st

from rrm_reward.options import Option
from rrm_reward.tournament import SCHEDULES, Schedule, make_tournament
from rrm_reward.types import Match, Outcome

Verdict = Callable[[int, int, int], float | None]
"""Share of the smaller index against the larger one, in that round."""


def lower_is_better(a: int, b: int, round: int) -> float:
    return 1.0


def drawn_verdicts(seed: int, choices: tuple[float | None, ...] = (0.0, 1.0, 0.5, 0.25, None)) -> Verdict:
    """A verdict for each pair and round, whatever the order they are asked in."""
    return lambda a, b, round: random.Random(f"{seed} {a} {b} {round}").choice(choices)


def outcome_of(match: Match, verdict: Verdict) -> Outcome:
    share = verdict(min(match.i, match.j), max(match.i, match.j), match.round)
    if share is not None and match.i > match.j:
        share = 1 - share
    return Outcome(match.i, match.j, share, round=match.round)


def play(
    name: str,
    n: int,
    verdict: Verdict = lower_is_better,
    *,
    seed: int = 0,
    budget: int | None = None,
    options: Mapping[str, Any] | None = None,
    gone: frozenset[int] = frozenset(),
) -> Schedule:
    """A whole tournament, everybody there from the start."""
    tournament = make_tournament(name, n, seed=seed, budget=budget, options=options or {})
    for i in range(n):
        tournament.withdraw(i) if i in gone else tournament.add(i)
    while not tournament.done:
        matches = tournament.ready()
        assert matches, "not done, and nothing to play"
        for match in matches:
            tournament.record(outcome_of(match, verdict))
    return tournament


def play_in_any_order(
    tournament: Schedule,
    rng: random.Random,
    verdict: Verdict,
    gone: frozenset[int] = frozenset(),
    leaving: float = 0.0,
) -> list[Match]:
    """Arrivals, fetches and verdicts interleaved at random; returns the matches that were handed out.

    Args:
        tournament: a fresh one.
        rng: decides what happens next.
        verdict: of each match.
        gone: slots that are withdrawn instead of arriving.
        leaving: probability of a withdrawal of any slot, known or not, between two other events.
    """
    expected = list(range(tournament.n))
    rng.shuffle(expected)
    playing: list[Match] = []
    handed_out: list[Match] = []
    left = set(gone)
    present: set[int] = set()
    for _ in range(10_000):
        if tournament.done:
            assert set(expected) <= left, "done though somebody may still come"
            assert not playing
            return handed_out
        if tournament.n and rng.random() < leaving:
            slot = rng.randrange(tournament.n)
            tournament.withdraw(slot)
            left.add(slot)
        choice = rng.choice(["arrive"] * bool(expected) + ["record"] * bool(playing) + ["fetch"])
        if choice == "arrive":
            slot = expected.pop()
            tournament.withdraw(slot) if slot in gone else tournament.add(slot)
            present.add(slot)
        elif choice == "record":
            match = playing.pop(rng.randrange(len(playing)))
            tournament.record(outcome_of(match, verdict))
        else:
            fetched = tournament.ready()
            assert not left & {i for match in fetched for i in (match.i, match.j)}, "plays though it has left"
            assert {i for match in fetched for i in (match.i, match.j)} <= present, "plays before it is there"
            assert fetched or expected or playing or tournament.done, "nothing can happen, and it is not done"
            playing += fetched
            handed_out += fetched
    raise AssertionError("does not end")


def variants(table: Mapping[str, Option]) -> st.SearchStrategy[dict[str, Any]]:
    """Some of a table's options, each with a value it allows."""
    return st.fixed_dictionaries({}, optional={name: _values(option) for name, option in table.items()})


def _values(option: Option) -> st.SearchStrategy[Any]:
    if option.kind is bool:
        return st.booleans()
    if option.choices:
        return st.sampled_from(option.choices)
    if option.kind is int:
        step = option.multiple_of or 1
        return st.integers(0, 4).map(lambda k: int(option.low or 0) + k * step)
    if option.default:
        return st.sampled_from([option.default / 2, option.default])
    return st.just(option.default)


@st.composite
def schedules(draw: st.DrawFn, most: int = 11) -> dict[str, Any]:
    """Arguments of `play` and of `make_tournament`: any schedule, with any options, of any size."""
    name = draw(st.sampled_from(sorted(SCHEDULES)))
    return {
        "name": name,
        "n": draw(st.integers(0, most)),
        "seed": draw(st.integers(0, 10_000)),
        "options": draw(variants(SCHEDULES[name].OPTIONS)),
    }
