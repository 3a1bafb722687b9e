"""Single lines: bytes to a group or the reason why they are none, results to text. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rrm_reward.errors import InputError
from rrm_reward.judge import render_query
from rrm_reward.types import FloatArray, Group, GroupResult

_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the input.

    Attributes:
        number: of the line in its file, from 1.
        id: as given, None where it cannot be read.
        group: what it holds, None if it is malformed.
        error: why it is malformed, with line number and field; empty for a group.
    """

    number: int
    id: str | int | None
    group: Group | None
    error: str = ""


def parse_line(number: int, raw: bytes) -> Line:
    """Read one line ``{"id", "query", "responses"}``; never raises.

    Args:
        number: of the line in its file, from 1.
        raw: the line in UTF-8, with or without its line end.
    """
    id: str | int | None = None
    try:
        record = _record(raw)
        id = _id(record)
        group = Group(str(id), _query(record), _responses(record))
    except InputError as error:
        return Line(number, id, None, f"line {number}: {error}")
    return Line(number, id, group)


def result_row(id: str | int | None, result: GroupResult) -> str:
    """The output line of a judged group, without its line end; what is unknown is null."""
    return json.dumps(
        {
            "id": id,
            "rewards": _numbers(result.rewards),
            "ratings": _numbers(result.ratings.value),
            "stderr": _numbers(result.ratings.stderr),
            "comparisons": result.comparisons,
            "calls": result.calls,
            "missing": result.missing,
        }
    )


def error_row(id: str | int | None, error: str) -> str:
    """The output line of a line that could not be judged, without its line end."""
    return json.dumps({"id": id, "error": error})


def _numbers(values: FloatArray) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values.tolist()]


def _record(raw: bytes) -> dict[str, Any]:
    try:
        record = json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 at byte {error.start + 1}") from None
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise InputError("not JSON that can be read: nested too deeply") from None
    except ValueError:
        raise InputError("not JSON that can be read: a number of thousands of digits") from None
    if not isinstance(record, dict):
        raise InputError(f"must be an object with id, query and responses, not {_kind(record)}")
    return record


def _field(record: Mapping[str, Any], name: str) -> Any:
    if name not in record:
        raise InputError(f"{name} is missing")
    return record[name]


def _id(record: Mapping[str, Any]) -> str | int:
    id = _field(record, "id")
    if isinstance(id, bool) or not isinstance(id, (str, int)):
        raise InputError(f"id must be a string or an integer, not {_kind(id)}")
    return id


def _query(record: Mapping[str, Any]) -> str | list[dict[str, Any]]:
    query = _field(record, "query")
    if isinstance(query, str):
        if not query.strip():
            raise InputError("query is empty")
        return query
    if not isinstance(query, list):
        raise InputError(f"query must be a string or a list of chat messages, not {_kind(query)}")
    if not query:
        raise InputError("query is empty")
    render_query(query)  # names the message and the field that the judge could not read
    return query


def _responses(record: Mapping[str, Any]) -> Sequence[str | None]:
    responses = _field(record, "responses")
    if not isinstance(responses, list):
        raise InputError(f"responses must be a list, not {_kind(responses)}")
    if not responses:
        raise InputError("responses is empty")
    for k, response in enumerate(responses):
        if not isinstance(response, str | None):
            raise InputError(f"responses[{k}] must be a string or null, not {_kind(response)}")
    return responses


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "a number")
