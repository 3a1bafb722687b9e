"""One connection to a judge: it carries one request at a time and says how each of them ended."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from rrm_reward.judge._reply import Reply, ReplyError, ReplyReader

_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""Seconds of silence before the first probe, between probes, and how many are lost before the peer counts as gone.

A reasoning answer takes minutes, in which nothing is sent: without these, a machine that lost its power is noticed by
the timeout only, and a firewall forgets the connection.
"""


class ConnectionCut(ConnectionError):
    """The peer closed the connection before its reply was complete.

    Attributes:
        unheard: not one byte of the reply had come.
    """

    def __init__(self, reason: str, *, unheard: bool) -> None:
        super().__init__(reason)
        self.unheard = unheard


class Connection(asyncio.Protocol):
    """A protocol of asyncio; see the module's text.

    Attributes:
        used: whether it has carried a request before.
        idle_since: seconds of the loop's clock; set by whoever keeps it.
        lost: done when the connection is closed for good.
    """

    def __init__(self) -> None:
        self.used = False
        self.idle_since = 0.0
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._reader: ReplyReader | None = None
        self._waiter: asyncio.Future[Reply] | None = None
        self._reusable = False

    @property
    def usable(self) -> bool:
        """Whether it can carry a request now."""
        transport = self._transport
        return self._reusable and transport is not None and not transport.is_closing()

    def send(self, request: bytes) -> asyncio.Future[Reply]:
        """Write a request; the future holds its reply.

        It fails with `ConnectionCut` or `ReplyError`, and the connection is then of no further use.
        """
        assert self._transport is not None
        assert self._waiter is None
        self._reader = ReplyReader()
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return waiter

    def abort(self) -> None:
        """Close it now, whatever is under way; a request in flight fails."""
        self._reusable = False
        if self._transport is not None:
            self._transport.abort()

    def expire(self) -> None:
        """The request in flight has taken long enough."""
        self._settle(TimeoutError("no answer in time"))
        self.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BaseProtocol`."""
        # uvloop, on which Ray runs asynchronous actors, has transports of its own, which inherit from nothing
        self._transport = cast(asyncio.Transport, transport)
        self._reusable = True
        keep_alive(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._reader is None:
            # Nobody asked: a server that says goodbye (408) to an idle connection, or one out of step.
            self.abort()
            return
        try:
            reply = self._reader.feed(data)
        except ReplyError as error:
            self._settle(error)
            self.abort()
        else:
            if reply is not None:
                self._settle(reply)

    def eof_received(self) -> None:
        """See `asyncio.Protocol`; the transport closes itself then."""
        reply = None
        try:
            reply = self._reader.end() if self._reader is not None else None
        except ReplyError as error:
            self._settle(error)
        if reply is not None:
            self._settle(reply)
        self._reusable = False

    def connection_lost(self, error: Exception | None) -> None:
        """See `asyncio.BaseProtocol`."""
        self._reusable = False
        reader = self._reader
        if reader is not None:
            reason = str(error) if error is not None else "the server closed the connection without an answer"
            self._settle(ConnectionCut(reason, unheard=not reader.started))
        self._transport = None
        self.lost.set_result(None)

    def _settle(self, result: Reply | Exception) -> None:
        """The request in flight has come to its end."""
        waiter, self._waiter, self._reader = self._waiter, None, None
        self.used = True
        if isinstance(result, Reply):
            # A reply to a request that was not sent to its end leaves the rest of it in the way.
            sent = self._transport is not None and not self._transport.get_write_buffer_size()
            self._reusable = self._reusable and result.reusable and sent
        if waiter is None or waiter.done():
            return
        if isinstance(result, Reply):
            waiter.set_result(result)
        else:
            waiter.set_exception(result)


def keep_alive(sock: socket.socket | None) -> None:
    """Have the kernel probe a silent connection; options that a system does not know are left out."""
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if (option := getattr(socket, name, None)) is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
