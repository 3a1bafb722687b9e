"""An output file that survives a crash: flushed line by line, and continued where it ended.

A line that is ahead of its turn waits in memory, and in a journal beside the output (``OUT.jsonl.ahead``), so
that a crash loses nothing that was finished. The journal is gone when the run is complete.

What a crash can leave behind, and what becomes of it:

- a last line without its end, in either file: cut off, its group is judged again;
- lines in the journal that are in the output too: dropped.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from rrm_reward.errors import ConfigError, InputError
from rrm_reward.rank._lines import Line
from rrm_reward.rank._output import InOrder


class OutputFile:
    """A file that is continued where it ended. Only one process may have it open; use as a context manager.

    Args:
        path: created if it is not there.

    Attributes:
        finished: lines that were in the file already.

    Raises:
        ConfigError: the file cannot be written, another process is writing to it, or it holds something else
            than our lines; it is then left as it is.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.journal_path = self.path.with_name(self.path.name + ".ahead")
        # A journal without its output is what is left where somebody deleted the output to start afresh.
        fresh = not self.path.exists()
        try:
            self._file = open(self.path, "a+b")  # noqa: SIM115 - closed by `close`
        except OSError as error:
            raise ConfigError("--output", str(path), error.strerror or str(error)) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.finished, end = _inspect(self._file, str(path))
            self._file.truncate(end)
            self._turn = InOrder(self.finished)
            self._ahead = {} if fresh else _read_journal(self.journal_path, self.finished)
            self._journal = self._rewrite_journal()
        except BaseException as error:
            self._file.close()
            if isinstance(error, BlockingIOError):
                raise ConfigError("--output", str(path), "another process is writing to it") from error
            raise
        self._earlier = self._read_earlier()

    @property
    def held(self) -> int:
        """Lines that wait for an earlier one."""
        return self._turn.held

    def recall(self, position: int, line: Line) -> dict[str, Any] | None:
        """The row of this position, if an earlier run finished it.

        Raises:
            InputError: it belongs to another line.
        """
        if position < self.finished:
            row = next(self._earlier)
            self._check(position, row, line)
        elif position in self._ahead:
            row = self._ahead[position]
            self._check(position, row, line)
            del self._ahead[position]
            self._write(self._turn.put(position, json.dumps(row)))
        else:
            return None
        return row

    def put(self, position: int, row: str) -> None:
        """Write what is due; what is ahead of its turn goes into the journal."""
        due = self._turn.put(position, row)
        if due:
            self._write(due)
        else:
            self._journal.write(_journal_line(position, row))
            self._journal.flush()

    def complete(self, positions: int) -> None:
        """The input has ended after this many lines.

        Raises:
            InputError: the earlier run had more of them.
        """
        if self.finished > positions or self._ahead:
            raise self._foreign(f"it has results beyond the {positions} lines of this one")

    def close(self) -> None:
        """Close both files; the journal goes if nothing waits in it. Idempotent."""
        if self._file.closed:
            return
        self._journal.close()
        if not self._turn.held and not self._ahead:
            self.journal_path.unlink(missing_ok=True)
        self._file.close()

    def __enter__(self) -> OutputFile:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _write(self, due: list[str]) -> None:
        if not due:
            return
        self._file.write("".join(f"{row}\n" for row in due).encode())
        self._file.flush()
        if not self._turn.held and not self._ahead:
            self._journal.truncate(0)

    def _read_earlier(self) -> Iterator[dict[str, Any]]:
        with open(self.path, "rb") as file:
            for raw in file:
                yield json.loads(raw)

    def _rewrite_journal(self) -> BinaryIO:
        """The journal with what still waits and nothing else, open for more."""
        fresh = self.journal_path.with_name(self.journal_path.name + ".new")
        with open(fresh, "wb") as file:
            for position, row in self._ahead.items():
                file.write(_journal_line(position, json.dumps(row)))
        os.replace(fresh, self.journal_path)
        return open(self.journal_path, "ab")

    def _check(self, position: int, row: dict[str, Any], line: Line) -> None:
        size = len(line.group.responses) if line.group is not None else 0
        rewards = len(row.get("rewards", ()))
        if row["id"] != line.id:
            theirs, ours = f"the id {row['id']!r}", repr(line.id)
        elif "error" not in row and rewards != size:
            theirs, ours = f"{rewards} rewards", f"{size} responses"
        else:
            return
        raise self._foreign(f"its line {position + 1} has {theirs}, line {line.number} of this one {ours}")

    def _foreign(self, difference: str) -> InputError:
        return InputError(
            f"{self.path} holds results of another input: {difference}; "
            f"name another --output, or delete it to start afresh"
        )


def _journal_line(position: int, row: str) -> bytes:
    return f'{{"position": {position}, "row": {row}}}\n'.encode()


def _is_row(record: object) -> bool:
    return isinstance(record, dict) and "id" in record and ("rewards" in record or "error" in record)


def _inspect(file: BinaryIO, path: str) -> tuple[int, int]:
    """Number of whole lines, and where the last of them ends."""
    file.seek(0)
    count = end = 0
    for raw in file:
        whole = raw.endswith(b"\n")
        try:
            ours = _is_row(json.loads(raw)) if whole else raw[:6] == b'{"id":'[: len(raw)]
        except ValueError:
            ours = False
        if not ours:
            fix = f"line {count + 1} is no result of rrm-reward rank; name another --output"
            raise ConfigError("--output", path, fix)
        if whole:
            count += 1
            end += len(raw)
    return count, end


def _read_journal(path: Path, finished: int) -> dict[int, dict[str, Any]]:
    """Rows by position that are not in the output yet."""
    ahead: dict[int, dict[str, Any]] = {}
    if not path.exists():
        return ahead
    with open(path, "rb") as file:
        for raw in file:
            if not raw.endswith(b"\n"):
                break
            entry = json.loads(raw)
            if entry["position"] >= finished:
                ahead[entry["position"]] = entry["row"]
    return ahead
