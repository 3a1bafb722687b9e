"""Reading replies: whatever the pieces, the same reply as the standard library reads; nonsense is named."""

import contextlib
import gzip
import http.client
import io
import itertools
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm_reward.judge._reply import Reply, ReplyError, ReplyReader

OK = b"HTTP/1.1 200 OK\r\n"


def read(data: bytes, *, limit: int = 1000) -> Reply | None:
    reader = ReplyReader(limit)
    return reader.feed(data) or reader.end()


class Wire:
    """What `http.client` takes for a socket."""

    def __init__(self, data: bytes) -> None:
        self.file = io.BytesIO(data)

    def makefile(self, mode: str) -> io.BytesIO:
        return self.file


def read_by_the_library(data: bytes) -> tuple[int, bytes]:
    """The naive twin."""
    response = http.client.HTTPResponse(Wire(data), method="POST")
    response.begin()
    return response.status, response.read()


def chunked(pieces: list[bytes], extension: bytes, trailer: bytes) -> bytes:
    chunks = b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces if piece)
    return chunks + b"0\r\n" + trailer + b"\r\n"


@st.composite
def replies(draw) -> bytes:
    """Whole replies of servers that are in order."""
    pieces = draw(st.lists(st.binary(max_size=40), max_size=4))
    status = draw(st.sampled_from([200, 201, 404, 429, 500]))
    interim = draw(st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n"]))
    headers = b"".join(
        draw(st.lists(st.sampled_from([b"Server: x\r\n", b"X-A:  b\t\r\n", b"Date: a:b\r\n"]), max_size=3))
    )
    body = b"".join(pieces)
    kind = draw(st.sampled_from(["counted", "chunked", "rest"]))
    if kind == "counted":
        headers += b"Content-Length: %d\r\n" % len(body)
    elif kind == "chunked":
        headers += b"Transfer-Encoding: Chunked\r\n"
        extension = draw(st.sampled_from([b"", b";a=b", b" "]))
        body = chunked(pieces, extension, draw(st.sampled_from([b"", b"X-T: 1\r\n"])))
    return interim + b"HTTP/1.1 %d Some Reason\r\n" % status + headers + b"\r\n" + body


@given(replies(), st.lists(st.integers(0, 400), max_size=12))
def test_a_reply_is_what_the_standard_library_reads_however_it_is_cut(data: bytes, cuts: list[int]) -> None:
    reader, reply = ReplyReader(), None
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for begin, end in itertools.pairwise(places):
        assert reply is None, "complete before its last byte"
        reply = reader.feed(data[begin:end])
    reply = reply or reader.end()
    assert reply is not None
    assert (reply.status, reply.body) == read_by_the_library(data)


@given(replies(), st.data())
def test_a_reply_that_is_cut_off_is_none(data: bytes, draw: st.DataObject) -> None:
    reader = ReplyReader()
    reply = reader.feed(data[: draw.draw(st.integers(1, len(data) - 1))])
    # Without a length nobody can tell; every other reply is missed.
    assert reply is None
    if b"Content-Length" in data or b"Chunked" in data:
        assert reader.end() is None


@given(st.binary(max_size=200))
def test_noise_is_no_reply_and_no_other_error(noise: bytes) -> None:
    for data in (noise, OK + noise, OK + b"Transfer-Encoding: chunked\r\n\r\n" + noise):
        with contextlib.suppress(ReplyError):
            read(data)


@pytest.mark.parametrize(
    ("head", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: Close, x\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n", True),
        (b"HTTP/1.1 200 OK\r\n", False),
    ],
)
def test_a_connection_is_used_again_only_where_both_sides_know_where_the_reply_ends(
    head: bytes, reusable: bool
) -> None:
    reply = read(head + b"\r\nok")
    assert reply is not None
    assert (reply.body, reply.reusable) == (b"ok", reusable)


def test_a_connection_that_carried_more_than_the_reply_is_not_used_again() -> None:
    reply = read(OK + b"Content-Length: 2\r\n\r\nokHTTP/1.1 ")
    assert reply is not None
    assert not reply.reusable


def test_a_length_beside_chunks_is_ignored_and_the_connection_given_up() -> None:
    reply = read(
        OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked([b"abc"], b"", b"")
    )
    assert reply is not None
    assert (reply.body, reply.reusable) == (b"abc", False)


def test_interim_replies_are_skipped() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    reply = read(interim + OK + b"Content-Length: 1\r\n\r\nx")
    assert reply is not None
    assert (reply.status, reply.body, reply.reusable) == (200, b"x", True)
    assert "link" not in reply.headers


def test_a_reply_without_content_ends_with_its_head() -> None:
    reply = ReplyReader().feed(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert reply is not None
    assert reply.body == b""


def test_repeated_headers_are_joined_and_names_know_no_case() -> None:
    reply = read(OK + b"VARY: a\r\nVary: b\r\nContent-Length: 0\r\n\r\n")
    assert reply is not None
    assert reply.headers["vary"] == "a, b"


@pytest.mark.parametrize(
    ("coding", "pack"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress), (b"identity", bytes)]
)
def test_a_coding_that_was_not_asked_for_is_undone(coding: bytes, pack) -> None:
    body = pack(b'{"a": 1}' * 20)
    reply = read(OK + b"Content-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (coding, len(body)) + body)
    assert reply is not None
    assert reply.body == b'{"a": 1}' * 20


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "not HTTP"),
        (b"\x16\x03\x01\x02", "not HTTP"),
        (b"HTTP/2 200\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 2x0 OK\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 099 OK\r\n\r\n", "status 99"),
        (b"HTTP/1.1 101 Switching\r\n\r\n", "status 101"),
        (OK + b"no colon\r\n\r\n", "no header"),
        (OK + b"Name : x\r\n\r\n", "no header"),
        (OK + b"A: b\r\n folded\r\n\r\n", "no header"),
        (OK + b"Content-Length: -1\r\n\r\n", "Content-Length"),
        (OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", "Content-Length"),
        (OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", "Content-Length"),
        (OK + b"Content-Length: 1001\r\n\r\n", "more than 1000 bytes"),
        (OK + b"\r\n" + b"x" * 1001, "more than 1000 bytes"),
        (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", "Transfer-Encoding"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", "size of a chunk"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", "size of a chunk"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n", "more than 1000 bytes"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", "longer than its size"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 5000, "between chunks"),
        (OK + b"X: " + b"x" * 70000, "head of more than"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 3000, "more than 65536 bytes of interim"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 20000, "more than 65536 bytes of"),
        (
            OK + b"Transfer-Encoding: chunked\r\n\r\n" + (b"1;" + b"x" * 2000 + b"\r\nx\r\n") * 40,
            "more than 65536 bytes of",
        ),
        (OK + b"Content-Encoding: br\r\nContent-Length: 1\r\n\r\nx", "not asked for"),
        (OK + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nxyz", "gzip, but"),
    ],
)
def test_what_is_no_reply_is_refused_with_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ReplyError, match=reason):
        read(data)


def test_a_server_that_says_continue_for_ever_is_left_after_as_much_as_a_head_may_have() -> None:
    reader, head = ReplyReader(), b"HTTP/1.1 102 Processing\r\n\r\n"
    for _ in range(2**16 // len(head)):
        assert reader.feed(head) is None
    with pytest.raises(ReplyError, match="interim"):
        reader.feed(head)


def test_a_small_body_that_unpacks_to_a_huge_one_is_refused() -> None:
    body = gzip.compress(bytes(10**6))
    with pytest.raises(ReplyError, match="more than 1000 bytes"):
        read(OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body, limit=1000)
