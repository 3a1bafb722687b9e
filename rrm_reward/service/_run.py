"""The process: checks, the listening socket, signals, the end."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import resource
import signal
import socket
import threading
from collections.abc import Iterator

import uvicorn

from rrm_reward.build import build_arena
from rrm_reward.config import RRMConfig
from rrm_reward.errors import ConfigError
from rrm_reward.service._app import make_app
from rrm_reward.service._service import Service

logger = logging.getLogger(__name__)

BACKLOG = 4096
"""Connections that may wait to be accepted: a batch's samples all come at once."""

CONNECTIONS = 2**17
"""Open files asked for, if the system allows them."""

GRACE = 10
"""Seconds for answers to leave once every group is finished; a client that stalls in the middle of a request is cut."""

KEEP_ALIVE = 75
"""Seconds that an idle connection is kept; longer than clients keep theirs, so that they close first."""


def serve(config: RRMConfig, host: str, port: int) -> bool:
    """Serve until SIGTERM or SIGINT; a second signal ends at once.

    Args:
        config: what to compare and how, and the service's limits.
        host: address to listen on.
        port: 0 for any; the one that was taken is printed.

    Returns:
        Whether every group was judged to its end.

    Raises:
        ConfigError: a judge, an address or a setting that cannot work.
    """
    logging.basicConfig(level=logging.WARNING, format="rrm-reward: %(message)s")
    _allow_connections()
    return asyncio.run(_serve(config, host, port))


async def _serve(config: RRMConfig, host: str, port: int) -> bool:
    async with build_arena(config) as arena:
        service = Service(config, arena)
        _check_host(host, service)
        listening = _listen(host, port)
        server = _Server(service)
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"rrm-reward: serving on http://{shown}:{port}", flush=True)
        await server.serve(sockets=[listening])
        return server.whole


class _Server(uvicorn.Server):
    """uvicorn, but for the end: open groups are finished before anything is closed.

    Attributes:
        whole: no group was cut short.
    """

    def __init__(self, service: Service) -> None:
        super().__init__(
            uvicorn.Config(
                make_app(service),
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="off",
                ws="none",
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE,
                timeout_graceful_shutdown=GRACE,
            )
        )
        self.whole = True
        self._service = service
        self._draining: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """In place of uvicorn's own, which closes the socket at once and dies of the signal afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.end)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def end(self) -> None:
        """Take no new groups and end when the open ones are finished; the second time: end now."""
        if self._draining is None:
            held = self._service.desk.held
            logger.warning("ending when %d responses are judged; a second signal cuts them short", held)
            self._draining = asyncio.get_running_loop().create_task(self._drain())
        else:
            self.whole = not self._service.desk.held
            self._service.cut()
            self.should_exit = self.force_exit = True

    async def _drain(self) -> None:
        if not await self._service.drain():
            self.whole = False
            logger.warning("groups were still open after service.drain; they got what was known")
        self.should_exit = True


def _allow_connections() -> None:
    """Every sample that waits is a connection, and many systems allow a process 1024 of them unless it asks."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard > CONNECTIONS:
        hard = CONNECTIONS
    if soft != resource.RLIM_INFINITY and soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def _check_host(host: str, service: Service) -> None:
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback and service.token is None and not service.limits.anonymous:
        raise ConfigError(
            "--host",
            host,
            "other machines can reach it: put a secret into the environment variable "
            f"{service.limits.token_env}, or say service.anonymous=true",
        )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        key, value = ("--port", port) if host in ("127.0.0.1", "localhost", "::1") else ("--host", host)
        raise ConfigError(key, value, f"cannot listen there: {error}") from error
