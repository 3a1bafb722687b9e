"""Reading sets through ``datasets``, writing Parquet: the only place that touches either."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from rrm_reward.errors import ConfigError, InputError

ROWS_AT_ONCE = 5_000
BUILDERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json"}


def read_rows(
    source: str, split: str, needed: Sequence[str], *, key: str = "--source"
) -> Sequence[Mapping[str, Any]]:
    """The rows of one split; they stay on the disk until they are asked for.

    Args:
        source: name on the Hugging Face hub, or a local file or folder.
        split: its name; a single file is taken as this split.
        needed: columns that must be there.
        key: the option that named the source, for errors.

    Raises:
        ConfigError: ``datasets`` is not installed, or the source cannot be loaded.
        InputError: a column is missing.
    """
    datasets = import_extra("datasets")
    path = Path(source)
    try:
        if path.is_file():
            if path.suffix not in BUILDERS:
                fix = f"a file must end in one of {', '.join(BUILDERS)}"
                raise ConfigError(key, source, fix)
            rows = datasets.load_dataset(BUILDERS[path.suffix], data_files={split: source}, split=split)
        else:
            rows = datasets.load_dataset(source, split=split)
    except ConfigError:
        raise
    except Exception as error:
        # A misspelt name, a proxy in the way: datasets and what lies below it raise a dozen unrelated types.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        fix = f"split {split!r} cannot be loaded ({reason}); give a hub name, a folder or a file"
        raise ConfigError(key, source, fix) from error
    for column in needed:
        if column not in rows.column_names:
            raise InputError(f"{source} has no column {column!r}, only {', '.join(rows.column_names)}")
    found: Sequence[Mapping[str, Any]] = rows
    return found


def write_parquet(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of one schema, whole or not at all; a few thousand at a time are in memory.

    Raises:
        ConfigError: ``pyarrow`` is not installed, or there is nothing to write.
        OSError: the file cannot be written.
    """
    waiting = iter(rows)
    first = list(itertools.islice(waiting, ROWS_AT_ONCE))
    if not first:
        raise ConfigError(
            "OUT.parquet", str(path), "no row is left to write; loosen --max-chars or name another --split"
        )
    arrow, parquet = import_extra("pyarrow"), import_extra("pyarrow.parquet")
    table = arrow.Table.from_pylist(first)
    fresh = Path(f"{path}.new")
    try:
        with parquet.ParquetWriter(fresh, table.schema) as writer:
            writer.write_table(table)
            while more := list(itertools.islice(waiting, ROWS_AT_ONCE)):
                writer.write_table(arrow.Table.from_pylist(more, schema=table.schema))
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def import_extra(name: str) -> ModuleType:
    """A module of the extra ``data``.

    Raises:
        ConfigError: it is not installed.
    """
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        package = name.split(".")[0]
        raise ConfigError(
            "data", name, f"{package} is not installed: pip install 'rrm-reward[data]'"
        ) from error
