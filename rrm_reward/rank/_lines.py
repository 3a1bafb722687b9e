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
        record = read_record(raw)
        id = read_id(record)
        group = Group(str(id), read_query(record), read_responses(record))
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


def read_record(raw: bytes, fields: str = "id, query and responses") -> dict[str, Any]:
    """The object in these bytes.

    Args:
        raw: JSON in UTF-8.
        fields: what it should hold, for the message.

    Raises:
        InputError: there is none, and why.
    """
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
        raise InputError(f"must be an object with {fields}, not {kind_of(record)}")
    return record


def read_field(record: Mapping[str, Any], name: str) -> Any:
    """The value of a field that has to be there."""
    if name not in record:
        raise InputError(f"{name} is missing")
    return record[name]


def read_id(record: Mapping[str, Any]) -> str | int:
    """The label of a group, as given."""
    id = read_field(record, "id")
    if isinstance(id, bool) or not isinstance(id, (str, int)):
        raise InputError(f"id must be a string or an integer, not {kind_of(id)}")
    return id


def read_query(record: Mapping[str, Any]) -> str | list[dict[str, Any]]:
    """A query that the judge can read."""
    query = read_field(record, "query")
    if isinstance(query, str):
        if not query.strip():
            raise InputError("query is empty")
        return query
    if not isinstance(query, list):
        raise InputError(f"query must be a string or a list of chat messages, not {kind_of(query)}")
    if not query:
        raise InputError("query is empty")
    render_query(query)  # names the message and the field that the judge could not read
    return query


def read_responses(record: Mapping[str, Any]) -> Sequence[str | None]:
    """The members of a group, None for one that failed."""
    responses = read_field(record, "responses")
    if not isinstance(responses, list):
        raise InputError(f"responses must be a list, not {kind_of(responses)}")
    if not responses:
        raise InputError("responses is empty")
    for k, response in enumerate(responses):
        if not isinstance(response, str | None):
            raise InputError(f"responses[{k}] must be a string or null, not {kind_of(response)}")
    return responses


def kind_of(value: object) -> str:
    """What JSON calls a value."""
    return _KINDS.get(type(value), "a number")
