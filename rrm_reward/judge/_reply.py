"""Reads one HTTP/1.1 reply from bytes, in whatever pieces they come.

A state machine without a socket, as h11 is: `feed` it what arrives, `end` it when the peer closes, and take the
`Reply` that comes out. The state is the method that reads the next part:

    head --1xx--> head
    head --Transfer-Encoding: chunked--> size --> chunk --> size ... size --0--> trailer --> over
    head --Content-Length--> counted --> over
    head --neither--> rest --peer closes--> over

It reads what OpenAI-compatible servers and the gateways before them send (RFC 9112), and refuses the rest with a
reason. Plain Python on purpose: a reply of a judge has five header lines and one body, which costs less here than the
callbacks of a C parser, and needs no package.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

BODY_LIMIT = 64 * 2**20
"""Bytes of the largest body that is taken: a thousand verdicts of 8192 tokens at five bytes a token."""

_HEAD_LIMIT = 64 * 2**10
_LINE_LIMIT = 4096
_ASIDE_LIMIT = 64 * 2**10
"""Bytes beside head and body that are read past: interim replies, extensions of chunks, trailers."""

_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


class ReplyError(ValueError):
    """What arrived is no reply, or none that we take."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered.

    Attributes:
        status: 200 to 599.
        headers: by lower-case name; the values of a repeated one are joined by commas.
        body: decoded, whatever its transfer and content coding were.
        reusable: whether the connection may carry another request.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    reusable: bool


class ReplyReader:
    """Reads one reply, and no more.

    Args:
        limit: bytes of the largest body that is taken.

    Attributes:
        started: whether any byte has arrived.
    """

    def __init__(self, limit: int = BODY_LIMIT) -> None:
        self.started = False
        self._limit = limit
        self._buffer = bytearray()
        self._body = bytearray()
        # A plain function, not a bound method: that would be a cycle, and garbage for the collector, a request.
        self._read: Callable[[ReplyReader], bool] = ReplyReader._read_head
        self._need = self._aside = 0
        self._status = 0
        self._headers: dict[str, str] = {}
        self._reusable = False
        self._reply: Reply | None = None

    def feed(self, data: bytes) -> Reply | None:
        """Take what arrived; the reply, once it is complete.

        Raises:
            ReplyError: this will never be a reply.
        """
        self.started = True
        self._buffer += data
        while self._reply is None and self._read(self):
            pass
        return self._reply

    def end(self) -> Reply | None:
        """The peer sends no more; the reply if that completes it, None if it was cut off."""
        if self._reply is None and self._read is ReplyReader._read_rest:
            self._finish(bytes(self._buffer))
        return self._reply

    def _read_head(self) -> bool:
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n")
        if end < 0 or end > _HEAD_LIMIT:
            if len(buffer) > _HEAD_LIMIT:
                raise ReplyError(f"a head of more than {_HEAD_LIMIT} bytes")
            if not b"HTTP/1.".startswith(buffer[:7]):
                raise ReplyError(f"not HTTP/1.1: {bytes(buffer[:40])!r}")
            return False
        first, *lines = buffer[:end].decode("latin-1").split("\r\n")
        del buffer[: end + 4]
        version, _, rest = first.partition(" ")
        code = rest[:3]
        if version not in ("HTTP/1.1", "HTTP/1.0") or not (code.isdecimal() and code.isascii()):
            raise ReplyError(f"not HTTP/1.1: {first[:40]!r}")
        self._status = int(code)
        self._headers = headers = _parse_headers(lines)
        if self._status < 200:
            # 100 Continue, 102, 103: the reply proper is still to come.
            if self._status in (101, *range(100)):
                raise ReplyError(f"a reply of status {self._status}")
            self._pass_over(end + 4)
            return True
        connection = headers.get("connection", "").lower()
        self._reusable = "close" not in connection and (version == "HTTP/1.1" or "keep-alive" in connection)
        self._begin_body(headers)
        return True

    def _begin_body(self, headers: Mapping[str, str]) -> None:
        """Which state reads the body (RFC 9112, section 6.3)."""
        coding, length = headers.get("transfer-encoding"), headers.get("content-length")
        if self._status in (204, 304):
            self._need, self._read = 0, ReplyReader._read_counted
        elif coding is not None:
            if coding.strip().lower() != "chunked":
                raise ReplyError(f"Transfer-Encoding: {coding[:40]}")
            # A length beside it is a lie of somebody between us: read on, and trust this connection no further.
            self._reusable = self._reusable and length is None
            self._read = ReplyReader._read_size
        elif length is not None:
            values = {value.strip() for value in length.split(",")}
            value = values.pop()
            # More digits than a size can have; of thousands, int() would make an error of its own.
            if values or not (value.isdecimal() and value.isascii() and len(value) <= 18):
                raise ReplyError(f"Content-Length: {length[:40]}")
            self._need, self._read = int(value), ReplyReader._read_counted
            self._refuse_beyond(self._need)
        else:
            self._reusable, self._read = False, ReplyReader._read_rest

    def _read_counted(self) -> bool:
        if len(self._buffer) < self._need:
            return False
        body = bytes(self._buffer[: self._need])
        del self._buffer[: self._need]
        self._finish(body)
        return True

    def _read_rest(self) -> bool:
        self._refuse_beyond(len(self._buffer))
        return False

    def _read_size(self) -> bool:
        line = self._take_line()
        if line is None:
            return False
        digits, _, extension = line.partition(b";")
        digits = digits.strip()
        self._pass_over(len(extension))
        try:
            if not digits.isalnum():
                raise ValueError
            self._need = int(digits, 16)
        except ValueError:
            raise ReplyError(f"no size of a chunk: {line[:40]!r}") from None
        self._refuse_beyond(len(self._body) + self._need)
        self._read = ReplyReader._read_chunk if self._need else ReplyReader._read_trailer
        return True

    def _read_chunk(self) -> bool:
        need = self._need
        if len(self._buffer) < need + 2:
            return False
        if self._buffer[need : need + 2] != b"\r\n":
            raise ReplyError("a chunk longer than its size")
        self._body += self._buffer[:need]
        del self._buffer[: need + 2]
        self._read = ReplyReader._read_size
        return True

    def _read_trailer(self) -> bool:
        line = self._take_line()
        if line is None:
            return False
        if line:
            self._pass_over(len(line) + 2)
        else:
            self._finish(bytes(self._body))
        return True

    def _take_line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n", 0, _LINE_LIMIT)
        if end < 0:
            if len(self._buffer) >= _LINE_LIMIT:
                raise ReplyError(f"a line of more than {_LINE_LIMIT} bytes between chunks")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _pass_over(self, size: int) -> None:
        """Nothing that is skipped may go on for ever."""
        self._aside += size
        if self._aside > _ASIDE_LIMIT:
            raise ReplyError(f"more than {_ASIDE_LIMIT} bytes of interim replies, extensions and trailers")

    def _refuse_beyond(self, size: int) -> None:
        if size > self._limit:
            raise ReplyError(f"a body of more than {self._limit} bytes")

    def _finish(self, body: bytes) -> None:
        coding = self._headers.get("content-encoding", "identity").lower()
        if coding != "identity" and body:
            body = self._decompress(coding, body)
        # Whoever sends more than the reply has another idea of where it ends.
        self._reply = Reply(self._status, self._headers, body, self._reusable and not self._buffer)

    def _decompress(self, coding: str, body: bytes) -> bytes:
        """Undo a coding that was not asked for, but that some gateways insist on."""
        if coding not in ("gzip", "x-gzip", "deflate"):
            raise ReplyError(f"Content-Encoding: {coding[:40]}, which was not asked for")
        decoder = zlib.decompressobj(_GZIP_OR_ZLIB)
        try:
            plain = decoder.decompress(body, self._limit + 1)
        except zlib.error as error:
            raise ReplyError(f"Content-Encoding: {coding}, but {error}") from None
        self._refuse_beyond(len(plain))
        if not decoder.eof:
            raise ReplyError(f"Content-Encoding: {coding}, but the body is cut off")
        return plain


def _parse_headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name[-1] in " \t" or name[0] in " \t":
            raise ReplyError(f"no header: {line[:40]!r}")
        name, value = name.lower(), value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
