"""Double elimination: out after the second loss."""

from __future__ import annotations

from functools import lru_cache

from rrm_reward.tournament._bracket import BracketSchedule, Plan, knockout_rounds, places


class DoubleElimination(BracketSchedule):
    """A knockout whose losers play on in a bracket of their own; the two winners play one final: 2n-2 matches.

    One final, not two: a second one would repeat a pair that the ratings know already, for one more step of
    waiting. Who was put out by a coin (see `_bracket`) goes where a loser goes: it keeps on playing, and
    nothing counts it as lost.
    """

    RATING = "bradley_terry"
    _UNDECIDED = "loser"

    def __init__(self, n: int, *, seed: int, budget: int | None = None) -> None:
        plan = double_elimination_plan(n)
        if budget is not None and budget < plan.matches:
            self._refuse_budget(budget, plan.matches, n)
        super().__init__(n, seed, plan)


@lru_cache(maxsize=1024)
def double_elimination_plan(n: int) -> Plan:
    """The two brackets for n responses, shared by all groups of that size.

    The losers' bracket alternates: its survivors meet each other, then those who have just lost above. The
    latter come in reverse order, so that who met above meets again as late as possible.
    """
    plan = Plan(n)
    first_round = places(n)
    if not first_round:
        return plan.finish()
    champion, (survivors, *later) = knockout_rounds(plan, first_round, consolation=False)
    for dropped in later:
        survivors = [plan.meet(*pair)[0] for pair in zip(survivors[::2], survivors[1::2], strict=True)]
        survivors = [plan.meet(*pair)[0] for pair in zip(survivors, reversed(dropped), strict=True)]
    plan.meet(champion, survivors[0])
    return plan.finish()
