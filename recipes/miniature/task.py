"""The miniature's task: ``Sort the digits: 937`` -> ``379``, with a split that holds out whole multisets.

Small enough to be learnt by a model of 100,000 parameters, and still a real task for a judge: the query has one
right answer, wrong answers come in many shapes, and nothing but working the answer out tells them apart.

A query is held out when its *sorted* digits are. Holding out queries instead would leak: 937 in training and 793
held out share their answer.
"""

from __future__ import annotations

import itertools
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass

QUERY_PREFIX = "Sort the digits: "
DIGITS_PER_QUERY = 3
LONGEST_WRONG_ANSWER = 8
"""Digits. Rollouts of the demo end here too, so that the judge meets no length it was never trained on."""

_DIGITS = "0123456789"
_HELD_OUT_ONE_IN = 10


@dataclass(frozen=True, slots=True)
class JudgedPair:
    """A query with a right and a wrong response, in the order a judge sees them.

    Attributes:
        query: as `all_queries` gives them.
        first: the response of Assistant 1.
        second: the response of Assistant 2.
        better: 1 or 2, the assistant whose response is right.
    """

    query: str
    first: str
    second: str
    better: int

    def swapped(self) -> JudgedPair:
        """The same pair in the other order."""
        return JudgedPair(self.query, self.second, self.first, 3 - self.better)


def digits_of(query: str) -> str:
    """The digits that a query asks to sort."""
    return query.removeprefix(QUERY_PREFIX)


def right_answer(query: str) -> str:
    """The one right answer, by rule. Only measurements and the training of the RRM may look at it."""
    return "".join(sorted(digits_of(query)))


def is_held_out(query: str) -> bool:
    """True for one multiset of digits in ten, whatever the order of the digits in the query."""
    return zlib.crc32(right_answer(query).encode()) % _HELD_OUT_ONE_IN == 0


def all_queries(*, held_out: bool) -> list[str]:
    """Every query of one side of the split, in numerical order."""
    numbers = itertools.product(_DIGITS, repeat=DIGITS_PER_QUERY)
    queries = (QUERY_PREFIX + "".join(number) for number in numbers)
    return [query for query in queries if is_held_out(query) == held_out]


def _swap_two(answer: list[str], query: str, rng: random.Random) -> list[str]:
    i, j = rng.sample(range(len(answer)), 2)
    answer[i], answer[j] = answer[j], answer[i]
    return answer


def _sorted_but_wrong_digit(answer: list[str], query: str, rng: random.Random) -> list[str]:
    answer[rng.randrange(len(answer))] = rng.choice(_DIGITS)
    return sorted(answer)


def _wrong_digit(answer: list[str], query: str, rng: random.Random) -> list[str]:
    answer[rng.randrange(len(answer))] = rng.choice(_DIGITS)
    return answer


def _answer_to_another_query(answer: list[str], query: str, rng: random.Random) -> list[str]:
    return sorted(rng.choices(_DIGITS, k=len(answer)))


def _too_short(answer: list[str], query: str, rng: random.Random) -> list[str]:
    return answer[: rng.randrange(len(answer))] if rng.random() < 0.5 else answer[1:]


def _right_then_goes_on(answer: list[str], query: str, rng: random.Random) -> list[str]:
    extra = rng.choices(_DIGITS, k=rng.randint(1, LONGEST_WRONG_ANSWER - len(answer)))
    return answer + extra


def _extra_digits_inside(answer: list[str], query: str, rng: random.Random) -> list[str]:
    for _ in range(rng.randint(1, 3)):
        answer.insert(rng.randint(0, len(answer)), rng.choice(_DIGITS))
    return sorted(answer) if rng.random() < 0.5 else answer


def _copy_of_the_query(answer: list[str], query: str, rng: random.Random) -> list[str]:
    return list(digits_of(query))


def _random_digits(answer: list[str], query: str, rng: random.Random) -> list[str]:
    return rng.choices(_DIGITS, k=rng.randint(1, LONGEST_WRONG_ANSWER))


_Corruption = Callable[[list[str], str, random.Random], list[str]]
_CORRUPTIONS: dict[_Corruption, float] = {
    _swap_two: 0.18,
    _sorted_but_wrong_digit: 0.20,
    _wrong_digit: 0.10,
    _answer_to_another_query: 0.10,
    _too_short: 0.06,
    # A judge that never saw over-long answers scores as well on pairs as one that did, and then lets the policy
    # run away in length (accuracy 0 in the prototype). These two lines are what prevents it.
    _right_then_goes_on: 0.12,
    _extra_digits_inside: 0.10,
    _copy_of_the_query: 0.07,
    _random_digits: 0.07,
}


def wrong_answer(query: str, rng: random.Random) -> str:
    """A wrong answer of up to `LONGEST_WRONG_ANSWER` digits, of a random kind; possibly empty, never right."""
    right = right_answer(query)
    while True:
        corrupt = rng.choices(list(_CORRUPTIONS), weights=list(_CORRUPTIONS.values()))[0]
        wrong = "".join(corrupt(list(right), query, rng))
        if wrong != right:
            return wrong


def make_pair(query: str, wrong: str, rng: random.Random) -> JudgedPair:
    """The right answer against a wrong one, in random order."""
    pair = JudgedPair(query, right_answer(query), wrong, better=1)
    return pair if rng.random() < 0.5 else pair.swapped()
