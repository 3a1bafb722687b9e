"""The contract, as an OpenAPI 3.1 document."""

from __future__ import annotations

from typing import Any

from rrm_reward import __version__
from rrm_reward.config import ServiceConfig
from rrm_reward.service._reading import NAME_CHARS

Schema = dict[str, Any]


def document(limits: ServiceConfig, *, secured: bool) -> Schema:
    """The document.

    Args:
        limits: of the service.
        secured: whether a token is needed.
    """
    paths: Schema = {
        "/v1/rewards": {"post": _rewards(limits)},
        "/v1/samples": {"post": _samples(limits)},
        "/v1/openrlhf": {"post": _openrlhf()},
        "/metrics": {"get": _get("Counters and gauges", "text/plain", {"type": "string"})},
    }
    if secured:
        for methods in paths.values():
            for operation in methods.values():
                operation["security"] = [{"token": []}]
                operation["responses"]["401"] = _error("no token, or a wrong one")
    state = _object(status={"enum": ["ok", "draining"]}, held=_COUNT)
    health = _get("Whether new groups are taken", "application/json", state)
    health["responses"]["503"] = _answer("the service is ending", state)
    components: Schema = {"schemas": {"Error": _object(error={"type": "string"})}}
    if secured:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "rrm-reward",
            "version": __version__,
            "description": "Rewards from a Reward Reasoning Model, for whole groups and for single samples.",
        },
        "paths": {**paths, "/health": {"get": health}},
        "components": components,
    }


def _rewards(limits: ServiceConfig) -> Schema:
    body = _object(
        id={"type": ["string", "integer"], "description": "comes back as it was given"},
        query=_QUERY,
        responses={"type": "array", "items": _RESPONSE, "minItems": 1, "maxItems": limits.max_group},
    )
    row = _object(
        id={"type": ["string", "integer"]},
        **{name: {"type": "array", "items": _NUMBER} for name in ("rewards", "ratings", "stderr")},
        **{name: _COUNT for name in ("comparisons", "calls", "missing")},
    )
    return _post("Judge a whole group", body, row)


def _samples(limits: ServiceConfig) -> Schema:
    name = {"type": "string", "minLength": 1, "maxLength": NAME_CHARS}
    size = {"type": "integer", "minimum": 1, "maximum": limits.max_group}
    body = _object(
        group={"anyOf": [name, {"type": "integer"}], "description": "unique; every sibling says the same"},
        slot={**size, "minimum": 0, "maximum": limits.max_group - 1, "description": "less than size"},
        size=size,
        query=_QUERY,
        response=_RESPONSE,
    )
    operation = _post("Judge one sample with its siblings", body, _object(**_SAMPLE))
    operation["responses"]["409"] = _error("it contradicts a sibling: another size, query or response")
    return operation


def _openrlhf() -> Schema:
    one = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 1}
    prompt = {**one, "items": {"type": "string", "pattern": "\\S"}}
    body = _object(query=one, prompts=prompt)
    body["properties"]["labels"] = {"description": "not read: rewards need no reference"}
    number = {"type": "number"}
    logs = {"type": "object", "additionalProperties": number}
    row = _object(rewards=number, scores=number, extra_logs=logs)
    return _post("OpenRLHF's --reward.remote_url", body, row)


def _post(summary: str, body: Schema, answer: Schema) -> Schema:
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": _answer("judged", answer),
            "400": _error("the body is no JSON object"),
            "413": _error("the body is too large"),
            "422": _error("a field is missing or wrong"),
            "429": _again("too many responses wait"),
            "503": _again("the service is ending"),
        },
    }


def _get(summary: str, kind: str, schema: Schema) -> Schema:
    return {
        "summary": summary,
        "responses": {"200": {"description": "so", "content": {kind: {"schema": schema}}}},
    }


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _answer(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _error(description: str) -> Schema:
    return _answer(description, {"$ref": "#/components/schemas/Error"})


def _again(description: str) -> Schema:
    wait = {"description": "seconds to wait", "schema": {"type": "integer", "minimum": 1}}
    return {**_error(description), "headers": {"Retry-After": wait}}


_COUNT: Schema = {"type": "integer", "minimum": 0}
_NUMBER: Schema = {"type": ["number", "null"], "description": "null where it is unknown"}
_SAMPLE: Schema = dict.fromkeys(("reward", "rating", "stderr"), _NUMBER)
_RESPONSE: Schema = {"type": ["string", "null"], "description": "null for a member that failed"}
_MESSAGE: Schema = _object(role={"type": "string", "minLength": 1}, content={"type": "string"})
_QUERY: Schema = {
    "description": "a text, or chat messages as the OpenAI API takes them",
    "anyOf": [{"type": "string", "pattern": "\\S"}, {"type": "array", "items": _MESSAGE, "minItems": 1}],
}
