"""Which member of which group an OpenRLHF sample is. It comes with its prompt and nothing else. Sans-IO.

A prompt's samples sit down at a table of n seats; the table is the group. Three things look alike from here, and must
not be mixed up:

- *A sibling with the same text.* It takes a seat of its own.
- *A retry.* OpenRLHF tries five times, 180 s each. A retry takes the seat of the same text whose connection broke
  before the answer; a seat whose connection stands is somebody else's.
- *The same prompt in a later epoch, or in a run that was started anew.* A table whose group is finished seats nobody
  new, and neither does one that everybody has left for longer than `AWAY` seconds: its run is dead.
"""

from __future__ import annotations

import enum
import itertools
from dataclasses import dataclass, field

AWAY = 60.0
"""Seconds that a seat is kept for one whose connection broke. OpenRLHF tries again after one second."""


class _State(enum.Enum):
    SEATED = "its connection stands"
    AWAY = "its connection broke before the answer"
    SERVED = "it has its answer"


@dataclass(slots=True)
class _Seat:
    text: int
    since: float
    state: _State = _State.SEATED
    left: float = 0.0


@dataclass(slots=True)
class Table:
    """One group of a prompt.

    Attributes:
        name: of the group, unique.
        prompt: that all its members answer.
        closed: it seats nobody new.
    """

    name: str
    prompt: str
    seats: list[_Seat] = field(default_factory=list)
    closed: bool = False

    def deserted(self, now: float) -> bool:
        """Whether nobody sits here any more, and those who left are not awaited."""
        return all(
            seat.state is _State.SERVED or (seat.state is _State.AWAY and now - seat.left > AWAY)
            for seat in self.seats
        )


class Seats:
    """The tables of all prompts.

    Args:
        size: seats of a table.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._tables: dict[str, list[Table]] = {}
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return sum(len(tables) for tables in self._tables.values())

    def take(self, prompt: str, text: str, now: float) -> tuple[Table, int]:
        """The table and the seat of a sample.

        Args:
            prompt: as it came.
            text: the response.
            now: seconds on a clock that does not go back.
        """
        mark = hash(text)
        tables = [table for table in self._tables.get(prompt, ()) if not table.deserted(now)]
        for table in tables:
            for slot, seat in enumerate(table.seats):
                if seat.state is _State.AWAY and seat.text == mark and now - seat.left <= AWAY:
                    seat.state = _State.SEATED
                    return table, slot
        for table in tables:
            if not table.closed and len(table.seats) < self.size:
                break
        else:
            table = Table(f"openrlhf-{next(self._numbers)}", prompt)
            self._tables.setdefault(prompt, []).append(table)
        table.seats.append(_Seat(mark, now))
        return table, len(table.seats) - 1

    def since(self, table: Table, slot: int) -> float:
        """When the one in this seat came first."""
        return table.seats[slot].since

    def leave(self, table: Table, slot: int, now: float) -> None:
        """The connection of this seat broke before the answer."""
        seat = table.seats[slot]
        seat.state, seat.left = _State.AWAY, now

    def serve(self, table: Table, slot: int) -> None:
        """The one in this seat has its answer."""
        table.seats[slot].state = _State.SERVED
        self.close(table)

    def close(self, table: Table) -> None:
        """This table seats nobody new; it is forgotten once everybody there is served."""
        table.closed = True
        if all(seat.state is _State.SERVED for seat in table.seats):
            self.forget(table)

    def sweep(self, now: float) -> list[Table]:
        """Forget deserted tables; returns those that were still open, whose groups nobody waits for."""
        deserted = [t for tables in self._tables.values() for t in tables if t.deserted(now)]
        for table in deserted:
            self.forget(table)
        return [table for table in deserted if not table.closed]

    def forget(self, table: Table) -> None:
        """Clear a table; idempotent."""
        tables = self._tables.get(table.prompt, [])
        if table in tables:
            tables.remove(table)
        if not tables:
            self._tables.pop(table.prompt, None)
