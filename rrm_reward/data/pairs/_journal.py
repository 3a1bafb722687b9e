"""What was paid for is never lost: an append-only file of JSON lines, on the disk before it is used.

Whoever is killed loses at most the requests in flight. A line that was cut by the end of its writer is dropped when
the journal is opened again; so is nothing else. Values stay on the disk (300,000 questions of eight long responses are
36 GB), and memory holds only where they are.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from rrm_reward.errors import InputError

_BEFORE_KEY, _BEFORE_VALUE = b'{"key": "', b'", "value": '


def key_of(*parts: object) -> str:
    """The key of what was asked: a hash of all that decides the answer (question, model, sampling)."""
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class Journal:
    """Key to value, on disk. One process writes it at a time.

    Args:
        path: made if need be.
        durable: wait for the disk at every entry, as what is expensive deserves; what is not may be lost by a machine
            that loses power, but by no process that is killed.

    Raises:
        InputError: the file holds something else.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self._durable = durable
        self._places: dict[bytes, int] = {}
        self._file = path.open("ab")
        self._reader = path.open("rb")
        self._end = 0
        for number, line in enumerate(self._reader, start=1):
            if not line.endswith(b"\n"):
                break
            until = line.find(_BEFORE_VALUE)
            if not line.startswith(_BEFORE_KEY) or until < 0:
                raise InputError(f"{path}, line {number}: no entry of a journal")
            self._places[line[len(_BEFORE_KEY) : until]] = self._end
            self._end += len(line)
        self._file.truncate(self._end)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._reader.close()

    def __len__(self) -> int:
        return len(self._places)

    def get(self, key: str) -> Any:
        """The value, or None."""
        place = self._places.get(key.encode())
        if place is None:
            return None
        self._reader.seek(place)
        return json.loads(self._reader.readline())["value"]

    def put(self, key: str, value: Any) -> None:
        """Write, and return when it is in the file (and on the disk, if durable)."""
        line = json.dumps({"key": key, "value": value}, ensure_ascii=True).encode() + b"\n"
        self._file.write(line)
        self._file.flush()
        if self._durable:
            os.fsync(self._file.fileno())
        self._places[key.encode()] = self._end
        self._end += len(line)
