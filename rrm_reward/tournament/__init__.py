"""Schedules: which responses of a group meet.

    >>> tournament = make_tournament("knockout", 4, seed=0)
    >>> for i in range(4):
    ...     tournament.add(i)
    >>> while not tournament.done:
    ...     for match in tournament.ready():  # the judge prefers the higher index
    ...         tournament.record(Outcome(match.i, match.j, p=float(match.i > match.j), round=match.round))
    >>> len(tournament.outcomes), tournament.planned
    (3, 3)

Every schedule is a state machine without IO (see `Tournament`). A new one is a file with a subclass of
`Schedule` and a line in `SCHEDULES`; the property tests run over the registry and find it there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from rrm_reward.errors import ConfigError
from rrm_reward.options import pick, read_options
from rrm_reward.tournament._adaptive import Adaptive
from rrm_reward.tournament._anchor import Anchor
from rrm_reward.tournament._base import Tournament
from rrm_reward.tournament._circular import Circular
from rrm_reward.tournament._circumstances import Circumstances, Purse, Room
from rrm_reward.tournament._double_elimination import DoubleElimination
from rrm_reward.tournament._knockout import Knockout
from rrm_reward.tournament._round_robin import RoundRobin
from rrm_reward.tournament._schedule import Schedule
from rrm_reward.tournament._swiss import Swiss
from rrm_reward.types import Match, Outcome

SCHEDULES: Final[dict[str, type[Schedule]]] = {
    "round_robin": RoundRobin,
    "knockout": Knockout,
    "circular": Circular,
    "swiss": Swiss,
    "double_elimination": DoubleElimination,
    "anchor": Anchor,
    "adaptive": Adaptive,
}
"""Every schedule by the name a user writes in ``tournament.name``."""

_NONE: Final[Mapping[str, Any]] = MappingProxyType({})


def check_schedule(name: str, options: Mapping[str, Any] = _NONE, budget: int | None = None) -> None:
    """Find at start-up, without knowing a group's size, what cannot work.

    Raises:
        ConfigError: ``tournament.name``, ``tournament.options.<option>`` or ``tournament.budget``.
    """
    read_options("tournament.options", pick("tournament.name", SCHEDULES, name).OPTIONS, options)
    if budget is not None and (isinstance(budget, bool) or not isinstance(budget, int) or budget < 1):
        raise ConfigError("tournament.budget", budget, "must be a whole number, at least 1, or null")


def make_tournament(
    name: str,
    n: int,
    *,
    seed: int,
    budget: int | None = None,
    options: Mapping[str, Any] = _NONE,
    circumstances: Circumstances | None = None,
) -> Schedule:
    """A tournament among n slots, its bracket drawn from the seed alone.

    Args:
        name: a schedule of `SCHEDULES`.
        n: number of slots, 0 and 1 included (no matches then).
        seed: of this group; derive it from the run's seed and the query.
        budget: most matches of the group. A schedule that can do with fewer shrinks; see each.
        options: further arguments of the schedule.
        circumstances: for schedules that reckon with what is known of the judge; others ignore it.

    Raises:
        ConfigError: what `check_schedule` refuses, or a budget too small for this n. A smaller group never
            needs more, so a budget that serves the full group serves a partial one.
        ValueError: n is negative.
    """
    check_schedule(name, options, budget)
    if n < 0:
        raise ValueError(f"a group has at least 0 slots, not {n}")
    build: Callable[..., Schedule] = SCHEDULES[name]
    given = read_options("tournament.options", SCHEDULES[name].OPTIONS, options)
    if circumstances is not None and SCHEDULES[name].CIRCUMSTANCES:
        given["circumstances"] = circumstances
    return build(n, seed=seed, budget=budget, **given)


def default_rating(name: str) -> str:
    """The name of the rating that suits the schedule, for ``rating.name=null``.

    Raises:
        ConfigError: no such schedule.
    """
    return pick("tournament.name", SCHEDULES, name).RATING


__all__ = [
    "SCHEDULES",
    "Circumstances",
    "Match",
    "Outcome",
    "Purse",
    "Room",
    "Schedule",
    "Tournament",
    "check_schedule",
    "default_rating",
    "make_tournament",
]
