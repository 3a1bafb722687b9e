"""The HTTP client against servers that do exactly what a test says."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rrm_reward.errors import ConfigError
from rrm_reward.judge import _reply
from rrm_reward.judge._backend import Sampling
from rrm_reward.judge._client import Client, Unreachable
from rrm_reward.judge._connection import ConnectionCut
from rrm_reward.judge._endpoint import Endpoint
from rrm_reward.judge._openai import OpenAIBackend
from rrm_reward.judge._prompt import build_messages
from rrm_reward.judge._reply import ReplyError
from tests.support.loopback_judge import LoopbackJudge
from tests.support.waiting import until

CERTIFICATE = Path(__file__).parent / "localhost.pem"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
MESSAGES = build_messages("q", "quality=0.2", "quality=0.9")

Answer = Callable[[int, int, asyncio.StreamWriter], Awaitable[bytes]]


class Server:
    """Answers every request with what `answer(connection, request, writer)` gives; both count from 0."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.connections = self.open = 0
        self.requests: list[bytes] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self.connections, self.open = self.connections, self.connections + 1, self.open + 1
        try:
            for count in range(1000):
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                reply = await self.answer(number, count, writer)
                if not reply:
                    break
                writer.write(reply)
                await writer.drain()
            writer.close()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def serving(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(answer)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    scheme = "http" if tls is None else "https"
    server.url = f"{scheme}://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
    try:
        yield server
    finally:
        listener.close()


@asynccontextmanager
async def asking(
    server: Server, **options: float
) -> AsyncIterator[tuple[Client, Callable[..., Awaitable[bytes]]]]:
    client, endpoint = Client(**options), Endpoint.parse(server.url)

    async def ask(seconds: float = 120.0) -> bytes:
        return (await client.exchange(endpoint, endpoint.request("GET", "/models"), seconds)).body

    try:
        yield client, ask
    finally:
        await client.aclose()


def always(reply: bytes) -> Answer:
    async def answer(connection: int, request: int, writer: asyncio.StreamWriter) -> bytes:
        return reply

    return answer


async def test_requests_after_one_another_share_a_connection_and_those_at_once_do_not() -> None:
    async with serving(always(OK)) as server, asking(server) as (_, ask):
        assert [await ask() for _ in range(5)] == [b"ok"] * 5
        assert server.connections == 1
        assert await asyncio.gather(*(ask() for _ in range(4))) == [b"ok"] * 4
        assert server.connections == 4


async def test_a_server_that_closes_after_a_reply_is_asked_on_fresh_connections() -> None:
    close = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    async with serving(always(close)) as server, asking(server) as (_, ask):
        assert [await ask() for _ in range(3)] == [b"ok"] * 3
        assert server.connections == 3


async def test_a_kept_connection_that_is_cut_unheard_costs_nothing_but_another() -> None:
    async def once_a_connection(connection: int, request: int, writer: asyncio.StreamWriter) -> bytes:
        return OK if request == 0 else b""

    async with serving(once_a_connection) as server, asking(server) as (_, ask):
        assert [await ask() for _ in range(4)] == [b"ok"] * 4
        assert len(server.requests) == 7


async def test_a_fresh_connection_that_is_cut_is_told() -> None:
    async with serving(always(b"")) as server, asking(server) as (_, ask):
        with pytest.raises(ConnectionCut, match="without an answer"):
            await ask()
        assert len(server.requests) == 1


async def test_a_kept_connection_that_is_cut_within_its_reply_is_told() -> None:
    async def half(connection: int, request: int, writer: asyncio.StreamWriter) -> bytes:
        if request == 0:
            return OK
        writer.write(OK[:-1])
        return b""

    async with serving(half) as server, asking(server) as (_, ask):
        await ask()
        with pytest.raises(ConnectionCut):
            await ask()
        assert server.connections == 1


async def test_a_cut_of_kept_connections_costs_neither_retries_nor_the_replica() -> None:
    """A judge that closes idle connections just as we write loses no vote, even with no retry to spend."""
    body = b'{"choices": [{"message": {"content": "\\\\boxed{Assistant 2}"}}]}'
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    async def once_a_connection(connection: int, request: int, writer: asyncio.StreamWriter) -> bytes:
        return reply if request == 0 else b""

    async with serving(once_a_connection) as server:
        backend = OpenAIBackend([server.url], "RRM-7B", retries=0)
        for _ in range(8):
            [completion] = await backend.complete([], 1, Sampling())
            assert "Assistant 2" in completion.text
        assert backend._fleet._router.available
        await backend.aclose()


async def test_a_cancelled_request_closes_its_connection() -> None:
    async def never(connection: int, request: int, writer: asyncio.StreamWriter) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with serving(never) as server, asking(server) as (client, ask):
        call = asyncio.ensure_future(ask())
        await until(lambda: server.requests)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(lambda: not client._all)


async def test_a_silent_server_is_waited_for_as_long_as_was_said() -> None:
    async def never(connection: int, request: int, writer: asyncio.StreamWriter) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with serving(never) as server, asking(server) as (client, ask):
        with pytest.raises(TimeoutError):
            await ask(seconds=0.05)
        await until(lambda: not client._all)


async def test_idle_connections_are_closed_after_a_while_and_only_so_many_are_kept() -> None:
    async with (
        serving(always(OK)) as server,
        asking(server, idle_seconds=0.05, idle_limit=2) as (client, ask),
    ):
        await asyncio.gather(*(ask() for _ in range(5)))
        assert server.connections == 5
        await until(lambda: server.open <= 2)
        await until(lambda: not client._all)
        assert await ask() == b"ok"


async def test_what_comes_unasked_ends_the_connection() -> None:
    async def goodbye(connection: int, request: int, writer: asyncio.StreamWriter) -> bytes:
        asyncio.get_running_loop().call_later(0.02, writer.write, b"HTTP/1.1 408 Timeout\r\n\r\n")
        return OK

    async with serving(goodbye) as server, asking(server) as (client, ask):
        await ask()
        await until(lambda: not client._all)
        assert await ask() == b"ok"


async def test_a_reply_that_would_fill_the_memory_is_refused_at_its_head() -> None:
    huge = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (_reply.BODY_LIMIT + 1)
    async with serving(always(huge)) as server, asking(server) as (client, ask):
        with pytest.raises(ReplyError, match="more than"):
            await ask()
        await until(lambda: not client._all)


async def test_the_kernel_probes_connections_that_are_silent_for_minutes() -> None:
    async with serving(always(OK)) as server, asking(server) as (client, ask):
        await ask()
        [connection] = client._all
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        told = [
            sock.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        ]
        assert told == [30, 10, 3]


async def test_closing_fails_what_is_in_flight_and_leaves_nothing_open() -> None:
    async def never(connection: int, request: int, writer: asyncio.StreamWriter) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with serving(never) as server, asking(server) as (client, ask):
        call = asyncio.ensure_future(ask())
        await until(lambda: server.requests)
        await client.aclose()
        with pytest.raises(ConnectionCut):
            await call
        assert not client._all


async def test_a_name_is_looked_up_once_for_all_who_ask_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(always(OK)) as server:
        server.url = server.url.replace("127.0.0.1", "localhost")
        looked_up = []
        resolve = Client._resolve

        async def counting(host: str, port: int) -> list[object]:
            looked_up.append(host)
            return await resolve(host, port)

        monkeypatch.setattr(Client, "_resolve", staticmethod(counting))
        async with asking(server) as (_, ask):
            assert await asyncio.gather(*(ask() for _ in range(6))) == [b"ok"] * 6
        assert looked_up == ["localhost"]


async def test_a_name_that_nobody_knows_is_named() -> None:
    client, endpoint = Client(), Endpoint.parse("http://no-such-host.invalid/v1")
    with pytest.raises(Unreachable, match=r"no-such-host\.invalid"):
        await client.exchange(endpoint, endpoint.request("GET", "/models"), 120.0)
    await client.aclose()


async def test_running_out_of_descriptors_is_no_fault_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **options: object) -> socket.socket:
        raise OSError(24, "Too many open files")

    async with serving(always(OK)) as server, asking(server) as (client, ask):
        await client._look_up(*_address(server))
        with monkeypatch.context() as patch:
            patch.setattr(socket, "socket", full)
            with pytest.raises(Unreachable) as caught:
                await ask()
        assert caught.value.ours
        assert await ask() == b"ok"


def _address(server: Server) -> tuple[str, int]:
    endpoint = Endpoint.parse(server.url)
    return endpoint.host, endpoint.port


# TLS


def tls_server() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


async def test_https_is_spoken_with_a_server_whose_certificate_is_trusted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    async with serving(always(OK), tls_server()) as server, asking(server) as (_, ask):
        assert [await ask() for _ in range(3)] == [b"ok"] * 3
        assert server.connections == 1


async def test_a_certificate_that_nobody_vouches_for_is_named_at_the_start() -> None:
    async with serving(always(OK), tls_server()) as server:
        with pytest.raises(ConfigError, match=r"certificate is not trusted.*SSL_CERT_FILE") as caught:
            await OpenAIBackend([server.url], "RRM-7B").start()
    assert caught.value.key == "judge.urls"


async def test_https_towards_a_server_of_plain_http_is_named_at_the_start() -> None:
    async with LoopbackJudge() as judge:
        with pytest.raises(ConfigError, match="no TLS there"):
            await OpenAIBackend([judge.url.replace("http:", "https:")], "RRM-7B").start()


async def test_a_redirect_says_where_it_points() -> None:
    moved = b"HTTP/1.1 301 Moved\r\nLocation: https://elsewhere/v1/models\r\nContent-Length: 0\r\n\r\n"
    async with serving(always(moved)) as server:
        with pytest.raises(ConfigError, match="points to https://elsewhere/v1/models"):
            await OpenAIBackend([server.url], "RRM-7B").start()


async def test_credentials_of_a_url_are_sent_and_never_told(caplog: pytest.LogCaptureFixture) -> None:
    async with LoopbackJudge(keep=True) as judge:
        backend = OpenAIBackend(
            [judge.url.replace("//", "//me:secret@"), "http://me:secret@127.0.0.1:1/v1"], "RRM-7B"
        )
        await backend.start()
        await backend.complete(MESSAGES, 1, Sampling())
        await backend.aclose()
    assert judge.headers[0]["Authorization"].startswith("Basic ")
    assert "put aside" in caplog.text
    assert "secret" not in caplog.text
