"""Lets requests in: the token, and a count of what was answered. An ASGI middleware without a framework's weight."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rrm_reward.service._metrics import Metrics

OPEN = frozenset({"/health"})
"""Paths that need no token: a load balancer has none."""


class Gate:
    """Refuses requests without the token, counts all others.

    OpenRLHF's client cannot send a header of its own, but it sends the user part of its URL: so a token is also taken
    as the password of Basic authentication, ``http://any:TOKEN@host/v1/openrlhf``.

    Args:
        app: what is behind it.
        metrics: where answers are counted.
        token: what clients must send, None for nothing.
        paths: that are counted under their own name.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, token: str | None, paths: frozenset[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._token = None if token is None else token.encode()
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in self._paths else "other"
        began, status = time.monotonic(), 499

        async def counting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if self._admits(scope):
                await self._app(scope, receive, counting)
            else:
                await _refuse(counting)
        finally:
            self._metrics.requests.labels(path, str(status)).inc()
            self._metrics.seconds.labels(path).observe(time.monotonic() - began)

    def _admits(self, scope: Scope) -> bool:
        if self._token is None or scope["path"] in OPEN:
            return True
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, credentials = given.partition(b" ")
        if scheme.lower() == b"basic":
            try:
                credentials = base64.b64decode(credentials, validate=True).partition(b":")[2]
            except binascii.Error:
                return False
        elif scheme.lower() != b"bearer":
            return False
        return hmac.compare_digest(credentials.strip(), self._token)


async def _refuse(send: Send) -> None:
    body = json.dumps({"error": "send the service's token: Authorization: Bearer TOKEN"}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"www-authenticate", b"Bearer"),
    ]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": body})
