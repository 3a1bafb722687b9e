"""What was paid for is never lost: an append-only file of JSON lines, on the disk before it is used.

Whoever is killed loses at most the requests in flight. A line that was cut by the end of its writer is dropped when
the journal is opened again; so is nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any


def key_of(*parts: object) -> str:
    """The key of what was asked: a hash of all that decides the answer (question, model, sampling)."""
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class Journal:
    """Key to value, on disk. One process writes it at a time.

    Args:
        path: made if need be.
    """

    def __init__(self, path: Path) -> None:
        self._known: dict[str, Any] = {}
        whole = 0
        if path.exists():
            data = path.read_bytes()
            whole = data.rfind(b"\n") + 1
            for line in data[:whole].splitlines():
                entry = json.loads(line)
                self._known[entry["key"]] = entry["value"]
        self._file = path.open("ab")
        self._file.truncate(whole)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: str) -> Any:
        """The value, or None."""
        return self._known.get(key)

    def put(self, key: str, value: Any) -> None:
        """Write, and return when it is on the disk."""
        line = json.dumps({"key": key, "value": value}, ensure_ascii=True)
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._known[key] = value
