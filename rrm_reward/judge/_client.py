"""The HTTP client of a judge: pooled connections on asyncio's own transports.

aiohttp costs more than twice the CPU a call (`benchmarks/transport.py`), and a judge needs little of what that is for:
one host or a few, small replies, no cookies, no streams, no redirects. Proxies of the environment are not used.

A connection that was kept and is cut before a byte of the reply came was closed by a server that did not see our
request (they close idle ones after some seconds). That says nothing about the server, so the request goes out again at
once, on a connection of its own; what happens to that one counts.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import socket
import ssl
from collections import deque
from typing import Any

from rrm_reward.judge._connection import Connection, ConnectionCut
from rrm_reward.judge._endpoint import Endpoint
from rrm_reward.judge._reply import Reply

CONNECT_SECONDS = 10.0
_NAME_SECONDS = 30.0
_SHORT_OF = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL)

Address = tuple[str, int, bool]


class Unreachable(OSError):
    """No connection came about.

    Attributes:
        ours: for want of file descriptors, ports or memory here, which passes, and is no fault of the server.
        misplaced: TLS was refused: a certificate nobody vouches for, or a server that speaks no TLS.
    """

    def __init__(self, reason: str, *, ours: bool = False, misplaced: bool = False) -> None:
        super().__init__(reason)
        self.ours = ours
        self.misplaced = misplaced


class Client:
    """Connections to any number of servers. Belongs to the event loop that uses it.

    Args:
        idle_seconds: how long an idle connection is kept. uvicorn, under vLLM and SGLang, closes them after 5 s: do not
            race with it.
        idle_limit: idle connections kept to one server.
    """

    def __init__(self, *, idle_seconds: float = 4.0, idle_limit: int = 1024) -> None:
        self._idle_seconds = idle_seconds
        self._idle_limit = idle_limit
        self._idle: dict[Address, deque[Connection]] = {}
        self._all: set[Connection] = set()
        self._names: dict[tuple[str, int], tuple[float, asyncio.Task[list[Any]]]] = {}
        self._tls: ssl.SSLContext | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    async def exchange(self, endpoint: Endpoint, request: bytes, seconds: float) -> Reply:
        """Send a request, wait for its reply. Cancelling the call closes the connection.

        Raises:
            Unreachable: there is no connection.
            ConnectionCut: there was one, and it was closed before the reply was complete.
            ReplyError: what came is no reply that we take.
            TimeoutError: there was none within `seconds`.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        address = (endpoint.host, endpoint.port, endpoint.tls)
        connection = self._take_idle(address)
        if connection is not None:
            try:
                return await self._send(connection, address, request, deadline)
            except ConnectionCut as error:
                if not error.unheard or self._closed:
                    raise
        return await self._send(await self._connect(address, deadline), address, request, deadline)

    async def aclose(self) -> None:
        """Close every connection; requests in flight fail. Idempotent."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        connections = list(self._all)
        for connection in connections:
            connection.abort()
        if connections:
            await asyncio.wait([connection.lost for connection in connections])

    async def _send(self, connection: Connection, address: Address, request: bytes, deadline: float) -> Reply:
        timer = asyncio.get_running_loop().call_at(deadline, connection.expire)
        try:
            reply = await connection.send(request)
        except BaseException:
            connection.abort()
            raise
        finally:
            timer.cancel()
        self._keep(address, connection)
        return reply

    def _take_idle(self, address: Address) -> Connection | None:
        """The connection used last, for it is the likeliest to be alive; None if there is none."""
        idle = self._idle.get(address)
        if not idle:
            return None
        oldest = asyncio.get_running_loop().time() - self._idle_seconds
        while idle:
            connection = idle.pop()
            if connection.usable and connection.idle_since >= oldest:
                return connection
            connection.abort()
        return None

    def _keep(self, address: Address, connection: Connection) -> None:
        idle = self._idle.get(address)
        if idle is None:
            idle = self._idle[address] = deque()
        if self._closed or not connection.usable or len(idle) >= self._idle_limit:
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        idle.append(connection)
        if self._sweeper is None:
            self._sweeper = loop.call_later(self._idle_seconds, self._sweep)

    def _sweep(self) -> None:
        """Close what has been idle for too long."""
        loop = asyncio.get_running_loop()
        oldest = loop.time() - self._idle_seconds
        for idle in self._idle.values():
            while idle and (idle[0].idle_since <= oldest or not idle[0].usable):
                idle.popleft().abort()
        busy = any(self._idle.values()) and not self._closed
        self._sweeper = loop.call_later(self._idle_seconds / 2, self._sweep) if busy else None

    async def _connect(self, address: Address, deadline: float) -> Connection:
        """A fresh connection.

        Raises:
            Unreachable, TimeoutError: see `exchange`.
        """
        left = deadline - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(max(0.0, min(left, CONNECT_SECONDS))):
                connection = await self._connect_any(address)
        except TimeoutError as error:
            if left > CONNECT_SECONDS:
                raise Unreachable(f"Connecting took more than {CONNECT_SECONDS:g} s") from error
            raise
        except ssl.SSLCertVerificationError as error:
            reason = (
                f"its TLS certificate is not trusted: {error.verify_message}; SSL_CERT_FILE names one that is"
            )
            raise Unreachable(reason, misplaced=True) from error
        except ssl.SSLError as error:
            raise Unreachable(f"no TLS there ({error.reason}): http, perhaps?", misplaced=True) from error
        except OSError as error:
            self._names.pop(address[:2], None)
            raise Unreachable(str(error), ours=error.errno in _SHORT_OF) from error
        if self._closed:
            connection.abort()
            raise Unreachable("the client is closed")
        return connection

    async def _connect_any(self, address: Address) -> Connection:
        """A connection to the first of a name's addresses that takes one; the last error if none does."""
        host, port, tls = address
        found = await self._look_up(host, port)
        loop = asyncio.get_running_loop()
        for number, (family, _, _, _, where) in enumerate(found, 1):
            try:
                # An address that swallows packets must leave time for the next.
                async with asyncio.timeout(CONNECT_SECONDS / len(found) if number < len(found) else None):
                    _, connection = await loop.create_connection(
                        Connection,
                        where[0],
                        where[1],
                        family=family,
                        ssl=self._context() if tls else None,
                        server_hostname=host if tls else None,
                    )
            except ssl.SSLError:
                raise
            except OSError:  # TimeoutError among them
                if number == len(found):
                    raise
            else:
                self._all.add(connection)
                connection.lost.add_done_callback(functools.partial(self._forget, connection))
                return connection
        raise OSError(f"Connect call failed: {host} has no address")

    def _forget(self, connection: Connection, _: asyncio.Future[None]) -> None:
        self._all.discard(connection)

    async def _look_up(self, host: str, port: int) -> list[Any]:
        """Addresses of a name; one question for all who ask at once, remembered for half a minute."""
        loop = asyncio.get_running_loop()
        known = self._names.get((host, port))
        if known is None or known[0] < loop.time():
            lookup = loop.create_task(self._resolve(host, port))
            known = self._names[host, port] = (loop.time() + _NAME_SECONDS, lookup)
        return await asyncio.shield(known[1])

    @staticmethod
    async def _resolve(host: str, port: int) -> list[Any]:
        try:
            return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise OSError(f"Connect call failed: {host} is not known ({error.strerror})") from error

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            # Reads the bundle of certificates, which takes time.
            self._tls = ssl.create_default_context()
        return self._tls
