"""Reads a run log, also of a run that crashed or is still going on."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rrm_reward.errors import ConfigError
from rrm_reward.record._schema import open_for_reading, unpack
from rrm_reward.types import NoVerdict, Outcome, PositionBelief, Query, Verdict, Vote

_GROUPS = (
    "SELECT run, sequence, id, query, messages, size, judged, rewards, standing, position, "
    "(run, sequence) IN (SELECT run, sequence FROM lost) FROM groups ORDER BY run, sequence"
)
_MATCHES = "SELECT key, i, j, round, p FROM matches WHERE run = ? AND sequence = ? AND NOT late ORDER BY key"
_VOTES = (
    "SELECT i_first, choice, reason, prompt_tokens, completion_tokens, text, soft, stored FROM votes "
    "WHERE match = ?"
)


@dataclass(frozen=True, slots=True)
class LoggedGroup:
    """A group as the run log knows it.

    Attributes:
        id, size: as in the group.
        query: as text, messages as JSON.
        outcomes: in the order of their verdicts, with the slots they were played with; late ones left out.
        rewards: by slot, None where unknown; None altogether for a group that never came to its end.
        position: what the ratings believed of the judge's position bias (see `GroupResult`): with it they come out as
            they did.
        standing: see `GroupResult`; empty for a group that never came to its end.
        run: number of the run in this file.
        lost: rows of it could not be written: it has no outcomes and no rewards here, rather than half of them.
        asked: the query as it was given.
    """

    id: str
    query: str
    size: int
    outcomes: tuple[Outcome, ...]
    rewards: tuple[float | None, ...] | None
    position: PositionBelief | None = None
    standing: tuple[int | None, ...] = ()
    run: int = 0
    lost: bool = False
    asked: Query = ""


def read_groups(path: str | Path) -> Iterator[LoggedGroup]:
    """Every group of a run log, oldest first, one at a time.

    Raises:
        ConfigError: there is no such log.
    """
    with _reading(path) as database:
        for row in database.execute(_GROUPS):
            run, sequence, id, query, messages, size, judged, rewards, standing, position, lost = row
            outcomes = tuple(
                Outcome(i, j, p, _votes(database, key), round)
                for key, i, j, round, p in database.execute(_MATCHES, (run, sequence)).fetchall()
            )
            lost = bool(lost) or (judged is not None and judged != len(outcomes))
            yield LoggedGroup(
                id,
                query,
                size,
                () if lost else outcomes,
                None if lost or rewards is None else tuple(json.loads(rewards)),
                None if position is None else PositionBelief(*json.loads(position)),
                () if standing is None else tuple(json.loads(standing)),
                run,
                lost,
                json.loads(query) if messages else query,
            )


def count_lost(path: str | Path) -> int:
    """Groups of which so much was lost that `read_groups` does not even know them.

    Raises:
        ConfigError: there is no such log.
    """
    with _reading(path) as database:
        (n,) = database.execute(
            "SELECT count(*) FROM lost WHERE (run, sequence) NOT IN (SELECT run, sequence FROM groups)"
        ).fetchone()
        return int(n)


def read_settings(path: str | Path) -> dict[int, Mapping[str, Any] | None]:
    """The settings of every run in a log, as nested mappings without secrets; None where none were given.

    Raises:
        ConfigError: there is no such log.
    """
    with _reading(path) as database:
        return {run: json.loads(config) for run, config in database.execute("SELECT id, config FROM run")}


@contextmanager
def _reading(path: str | Path) -> Iterator[sqlite3.Connection]:
    database = open_for_reading(path)
    try:
        yield database
    except sqlite3.DatabaseError as error:
        raise ConfigError("log.path", str(path), f"cannot be read as a run log ({error})") from error
    finally:
        database.close()


def _votes(database: sqlite3.Connection, key: int) -> tuple[Vote, ...]:
    return tuple(
        Vote(
            bool(first),
            Verdict(choice, None if reason is None else NoVerdict(reason)),
            *(prompt, completion, unpack(text), soft, bool(stored)),
        )
        for first, choice, reason, prompt, completion, text, soft, stored in database.execute(_VOTES, (key,))
    )
