"""Results of a benchmark as a table on the screen and as a file that the documentation is written from."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table; lists are left to the file."""
    names = [name for name, value in rows[0].items() if not isinstance(value, list)]
    lines = [[str(row[name]) for name in names] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(names, *lines, strict=True)]
    cells = [names, ["-" * width for width in widths], *lines]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in cells
    )


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print the table."""
    print(table(rows), flush=True)


def write(path: Path | None, rows: Sequence[dict[str, Any]], **facts: object) -> None:
    """Keep rows and facts with the command and the machine they come from; None keeps nothing."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    arguments = [argument for argument in sys.argv[1:] if argument not in ("--json", str(path))]
    record = {
        "command": " ".join(["python -m", f"benchmarks.{Path(sys.argv[0]).stem}", *arguments]),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        **facts,
        "rows": list(rows),
    }
    path.write_text(json.dumps(record, indent=1) + "\n")
