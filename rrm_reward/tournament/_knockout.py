"""Knockout: winners meet winners until one is left."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar

from rrm_reward.options import Option
from rrm_reward.tournament._bracket import BracketSchedule, Plan, knockout_rounds, places


class Knockout(BracketSchedule):
    """A random bracket: n-1 matches in ceil(log2 n) rounds; byes fill it up to a power of two.

    Plain, it finds the best response and orders the others by the round they reached. With ``consolation``
    the losers of every round play a knockout of their own, so that all n places are played for: (n/2) log2 n
    matches in the same number of rounds.

    Who was put out by a coin (see `_bracket`) plays no further match, for among the losers it would count as
    one of them; `placement` knows what to make of it.
    """

    RATING = "placement"
    OPTIONS: ClassVar = {
        "consolation": Option(bool, False, "let the losers of each round play on, for their order")
    }
    _UNDECIDED = "out"

    def __init__(self, n: int, *, seed: int, budget: int | None = None, consolation: bool = False) -> None:
        plan = knockout_plan(n, consolation)
        if budget is not None and budget < plan.matches:
            self._refuse_budget(budget, plan.matches, n)
        super().__init__(n, seed, plan)


@lru_cache(maxsize=1024)
def knockout_plan(n: int, consolation: bool) -> Plan:
    """The bracket for n responses, shared by all groups of that size."""
    plan = Plan(n)
    if n > 1:
        knockout_rounds(plan, places(n), consolation=consolation)
    return plan.finish()
