"""The order of the output: rows are written in the order of the input, whatever finishes first."""

from __future__ import annotations

from typing import Any, BinaryIO, Protocol

from rrm_reward.rank._lines import Line


class Output(Protocol):
    """Where finished lines go."""

    finished: int
    """Positions below this one were written in an earlier run."""

    @property
    def held(self) -> int:
        """Lines that wait for an earlier one."""
        ...

    def recall(self, position: int, line: Line) -> dict[str, Any] | None:
        """What an earlier run made of this line, or None; called once for each position, in order.

        Raises:
            InputError: the earlier run had another line in this place.
        """
        ...

    def put(self, position: int, row: str) -> None:
        """The line at this position (0-based) is finished; called once for each that was not recalled."""
        ...

    def complete(self, positions: int) -> None:
        """The input has ended after this many lines.

        Raises:
            InputError: the earlier run had more of them.
        """
        ...


class InOrder:
    """Gives back what may be written now: a run of consecutive positions. Knows no file.

    >>> turn = InOrder(0)
    >>> turn.put(1, "b"), turn.put(0, "a"), turn.held
    ([], ['a', 'b'], 0)
    """

    def __init__(self, next: int) -> None:
        self.next = next
        self._waiting: dict[int, str] = {}

    @property
    def held(self) -> int:
        """Lines that wait for an earlier one."""
        return len(self._waiting)

    def put(self, position: int, row: str) -> list[str]:
        """Take one row; returns the rows whose turn has come, in order."""
        self._waiting[position] = row
        due = []
        while self.next in self._waiting:
            due.append(self._waiting.pop(self.next))
            self.next += 1
        return due


class OutputStream:
    """Standard output: in order and flushed; nothing to continue.

    Args:
        file: written to as it is, not closed.
    """

    finished = 0

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._turn = InOrder(0)

    @property
    def held(self) -> int:
        """Lines that wait for an earlier one."""
        return self._turn.held

    def recall(self, position: int, line: Line) -> dict[str, Any] | None:
        """Nothing: every run starts afresh."""
        return None

    def put(self, position: int, row: str) -> None:
        """Write what is due."""
        if due := self._turn.put(position, row):
            self._file.write("".join(f"{line}\n" for line in due).encode())
            self._file.flush()

    def complete(self, positions: int) -> None:
        """Nothing to check."""
