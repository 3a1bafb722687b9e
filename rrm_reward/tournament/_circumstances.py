"""What a schedule that chooses its matches by what they tell must know beyond its own group."""

from __future__ import annotations

from dataclasses import dataclass, field

from rrm_reward.rating._position import DEVIATION
from rrm_reward.types import PositionBelief


class Purse:
    """Matches that groups of a run did not need, for those that do: a budget of the whole batch.

    Nobody waits for it, and it never lends: the matches of all groups together stay within the sum of their budgets.
    Who gets what depends on who is done first; with one purse per run, groups are not independent of each other.

    Attributes:
        saved: matches in it.
    """

    def __init__(self) -> None:
        self.saved = 0

    def give(self, matches: int) -> None:
        """A group is done and leaves this many."""
        self.saved += matches

    def take(self, matches: int) -> int:
        """A group could use this many; returns how many it gets."""
        taken = min(matches, self.saved)
        self.saved -= taken
        return taken


class Room:
    """What each open group may fill of the judge at a time; the arena keeps it up to date.

    Groups whose members are still to come count: they want their part soon.

    Attributes:
        slots: matches that the judge can be busy with.
        groups: how many are open.
    """

    def __init__(self, slots: int = 0) -> None:
        self.slots = slots
        self.groups = 0

    @property
    def share(self) -> int:
        """Of each group."""
        return self.slots // max(1, self.groups)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What surrounds a group.

    Attributes:
        position: what is believed of the judge's position bias when the group is opened.
        both_orders: a match is judged in both orders, so that its reverse would be the same match again.
        purse: shared by the groups of a run; None: each keeps to its own budget.
        room: the judge's, shared by the groups of a run; None: nobody knows.
    """

    position: PositionBelief = field(default_factory=lambda: PositionBelief(0.0, DEVIATION))
    both_orders: bool = False
    purse: Purse | None = None
    room: Room | None = None
