"""Bodies of requests to values, by the same rules as lines of ``rrm-reward rank``. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rrm_reward.errors import InputError
from rrm_reward.rank._lines import kind_of, read_field, read_id, read_query, read_record, read_responses
from rrm_reward.service._errors import Refused
from rrm_reward.types import Group, Query

NAME_CHARS = 512
"""Longest name of a group."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One member of a group.

    Attributes:
        group: names the group; every sibling says the same.
        slot: position in the group, in [0, size).
        size: members of the group.
        query: what all members answer.
        response: the text; None is a member that failed.
    """

    group: str
    slot: int
    size: int
    query: Query
    response: str | None


def read_group(raw: bytes, largest: int) -> tuple[str | int, Group]:
    """The id as it was given, and the group of a body ``{"id", "query", "responses"}``.

    Args:
        raw: the body.
        largest: most responses of a group.

    Raises:
        Refused: 400 for a body that is no JSON object, 422 for a field that cannot be read.
    """
    record = _object(raw, "id, query and responses")
    try:
        id = read_id({**record, "id": _whole(read_field(record, "id"))})
        group = Group(str(id), read_query(record), read_responses(record))
        if len(group.responses) > largest:
            raise InputError(f"responses must be at most {largest}, not {len(group.responses)}")
    except InputError as error:
        raise Refused(422, str(error)) from error
    return id, group


def read_sample(raw: bytes, largest: int) -> Sample:
    """The sample of a body ``{"group", "slot", "size", "query", "response"}``.

    Args:
        raw: the body.
        largest: most members of a group.

    Raises:
        Refused: as `read_group`.
    """
    record = _object(raw, "group, slot, size, query and response")
    try:
        size = _integer(record, "size", 1, largest)
        return Sample(
            _name(record), _integer(record, "slot", 0, size - 1), size, read_query(record), _response(record)
        )
    except InputError as error:
        raise Refused(422, str(error)) from error


def read_openrlhf(raw: bytes) -> tuple[str, str]:
    """Prompt and sequence (prompt and response in one text) of OpenRLHF's ``{"query", "prompts", "labels"}``.

    Raises:
        Refused: as `read_group`.
    """
    record = _object(raw, "query, prompts and labels")
    try:
        prompt, sequence = _single(record, "prompts"), _single(record, "query")
        if not prompt.strip():
            raise InputError("prompts[0] is empty")
    except InputError as error:
        raise Refused(422, str(error)) from error
    return prompt, sequence


def _object(raw: bytes, fields: str) -> dict[str, Any]:
    try:
        return read_record(raw, fields)
    except InputError as error:
        raise Refused(400, f"the body is {error}" if str(error)[:4] == "not " else str(error)) from error


def _whole(value: Any) -> Any:
    """3 for 3.0, which is an integer to JSON; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _name(record: Mapping[str, Any]) -> str:
    group = _whole(read_field(record, "group"))
    if isinstance(group, bool) or not isinstance(group, (str, int)):
        raise InputError(f"group must be a string or an integer, not {kind_of(group)}")
    name = str(group)
    if not 0 < len(name) <= NAME_CHARS:
        raise InputError(f"group must have 1 to {NAME_CHARS} characters, not {len(name)}")
    return name


def _integer(record: Mapping[str, Any], name: str, low: int, high: int) -> int:
    value = _whole(read_field(record, name))
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{name} must be an integer, not {kind_of(value)}")
    if not low <= value <= high:
        shown = value if abs(value) < 10**9 else "a number of more than 9 digits"
        raise InputError(f"{name} must be at least {low} and at most {high}, not {shown}")
    return value


def _response(record: Mapping[str, Any]) -> str | None:
    response = read_field(record, "response")
    if not isinstance(response, str | None):
        raise InputError(f"response must be a string or null, not {kind_of(response)}")
    return response


def _single(record: Mapping[str, Any], name: str) -> str:
    values = read_field(record, name)
    if not isinstance(values, list):
        raise InputError(f"{name} must be a list, not {kind_of(values)}")
    if len(values) != 1:
        raise InputError(f"{name} must hold one text, as OpenRLHF 0.9 and later send it, not {len(values)}")
    if not isinstance(values[0], str):
        raise InputError(f"{name}[0] must be a string, not {kind_of(values[0])}")
    return values[0]
