"""What a run would cost: plays every tournament with made-up verdicts, and asks nobody."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from rrm_reward._group import GroupState
from rrm_reward.arena import Arena
from rrm_reward.config import JudgeConfig
from rrm_reward.errors import RRMRewardError
from rrm_reward.judge._base import Judgment
from rrm_reward.rank._lines import parse_line
from rrm_reward.rank._reader import NumberedLine
from rrm_reward.scoring import Scorer

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """What `rank` would do with an input.

    Attributes:
        groups: that can be judged.
        responses: in them, failed members not counted.
        duplicates: responses that look to the judge like an earlier one of their group, and are not compared.
        comparisons: matches; where the schedule depends on the verdicts, of one course that it may take.
        calls: votes asked for if every vote brings a verdict; what is asked again comes on top.
        malformed: lines that cannot be judged; they were named in the log.
    """

    groups: int
    responses: int
    duplicates: int
    comparisons: int
    calls: int
    malformed: int


def plan(arena: Arena, judge: JudgeConfig, source: Iterable[NumberedLine]) -> Plan:
    """Count what judging these lines would take.

    Args:
        arena: need not be started.
        judge: its configuration.
        source: numbered lines; see `rrm_reward.rank._reader.lines`.
    """

    @lru_cache(maxsize=4096)
    def comparisons(looks: tuple[int | None, ...]) -> int:
        return _play(GroupState(len(looks), lambda n: arena.schedule(n, 0)), looks)

    groups = responses = duplicates = matches = malformed = 0
    for number, raw in source:
        line = parse_line(number, raw)
        try:
            if line.group is None:
                raise RRMRewardError(line.error)
            views = [r if r is None else arena.comparer.view(r) for r in line.group.responses]
            looks = tuple(None if view is None else views.index(view) for view in views)
            matches += comparisons(looks)
        except RRMRewardError as error:
            logger.error("%s", error if line.group is None else f"line {number}: {error}")
            malformed += 1
            continue
        present = [look for look in looks if look is not None]
        groups += 1
        responses += len(present)
        duplicates += len(present) - len(set(present))
    calls = matches * judge.votes * (2 if judge.order == "both" else 1)
    if isinstance(arena.comparer, Scorer):
        calls = responses - duplicates
    return Plan(groups, responses, duplicates, matches, calls, malformed)


def _play(group: GroupState, looks: tuple[int | None, ...]) -> int:
    """Matches of a group in which the first of a pair always wins.

    Args:
        group: fresh.
        looks: for each member the lowest one that looks the same, None for a failed member.
    """
    for slot, look in enumerate(looks):
        if look is None:
            group.withdraw(slot)
        else:
            group.arrive(slot, str(look))
    played = 0
    while ready := group.ready():
        for match in ready:
            group.record((group.view(match.i), group.view(match.j)), Judgment(1.0, (), 1))
        played += len(ready)
    return played
