"""The endpoints, as an ASGI application.

A request that waits for its group also listens to its connection: when the client is gone, the request ends at once
and frees its memory. What it brought stays (`_desk`), but for a whole group, whose judging ends: nobody would read it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from typing import TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from rrm_reward.service._errors import Refused
from rrm_reward.service._gate import Gate
from rrm_reward.service._openapi import document
from rrm_reward.service._openrlhf import Gone
from rrm_reward.service._reading import read_openrlhf
from rrm_reward.service._service import Service

T = TypeVar("T")

_CLIENT_GONE = 499  # nginx's number; nobody is there to read it


def make_app(service: Service) -> Starlette:
    """The application that serves this service."""

    async def rewards(request: Request) -> Response:
        raw = await _body(request, service.limits.max_body)
        return _json(await _while_connected(request, service.rewards(raw)))

    async def samples(request: Request) -> Response:
        raw = await _body(request, service.limits.max_body)
        return _json(await _while_connected(request, service.sample(raw)))

    async def openrlhf(request: Request) -> Response:
        raw = await _body(request, service.limits.max_body)
        if service.openrlhf is None:
            raise Refused(
                400, "start the service with service.group_size=N, OpenRLHF's rollout.n_samples_per_prompt"
            )
        prompt, sequence = read_openrlhf(raw)
        row = await service.openrlhf.answer(
            prompt, sequence, lambda reward: _while_connected(request, reward)
        )
        return _json(json.dumps(row))

    async def health(request: Request) -> Response:
        draining = service.desk.draining
        state = {"status": "draining" if draining else "ok", "held": service.desk.held}
        return _json(json.dumps(state), 503 if draining else 200)

    async def metrics(request: Request) -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    async def openapi(request: Request) -> Response:
        return _json(json.dumps(document(service.limits, secured=service.token is not None)))

    routes = [
        Route("/v1/rewards", rewards, methods=["POST"]),
        Route("/v1/samples", samples, methods=["POST"]),
        Route("/v1/openrlhf", openrlhf, methods=["POST"]),
        Route("/health", health),
        Route("/metrics", metrics),
        Route("/openapi.json", openapi),
    ]
    gate = Middleware(
        Gate, metrics=service.metrics, token=service.token, paths=frozenset(route.path for route in routes)
    )
    return Starlette(
        routes=routes,
        middleware=[gate],
        exception_handlers={
            Refused: _refused,
            HTTPException: _no_such_thing,
            Gone: _gone,
            ClientDisconnect: _gone,
            Exception: _broken,
        },
    )


async def _body(request: Request, limit: int) -> bytes:
    """The body; one that is too large is not read to its end."""
    announced = request.headers.get("content-length", "0")
    size = int(announced) if announced.isdecimal() else 0
    chunks: list[bytes] = []
    if size <= limit:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                break
            chunks.append(chunk)
    if size > limit:
        raise Refused(413, f"the body must be at most {limit} bytes (service.max_body), not {size}")
    return b"".join(chunks)


async def _while_connected(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled when the client leaves.

    Raises:
        Gone: it left.
    """
    task = asyncio.ensure_future(work)
    left = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((task, left), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Gone
        return task.result()
    finally:
        left.cancel()
        task.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _json(text: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(text, status, headers, media_type="application/json")


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return _json(json.dumps({"error": message}), status, headers)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    headers = None if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    return _error(error.status, error.message, headers)


async def _no_such_thing(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {error.detail}; see /openapi.json"
    return _error(error.status_code, message, dict(error.headers or {}))


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=_CLIENT_GONE)


async def _broken(request: Request, error: Exception) -> Response:
    return _error(500, "the service has a bug here; its log says which")
