"""The replicas of a judge as one thing: its HTTP client, who is in, and the probes that bring them back.

`_routing` decides, `_wire` reads; here is the network between them. A request is retried in `_openai`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine, Sequence
from typing import Any

from rrm_reward.errors import ConfigError
from rrm_reward.judge._backend import BackendError
from rrm_reward.judge._client import Client, Unreachable
from rrm_reward.judge._endpoint import Endpoint
from rrm_reward.judge._reply import ReplyError
from rrm_reward.judge._routing import Replica, Router
from rrm_reward.judge._wire import Fault, decode_models, fault_of, retry_after
from rrm_reward.redaction import HIDDEN, redacted

logger = logging.getLogger(__name__)

_CHECK_SECONDS = 60.0
"""At the start a judge may be slow to say what it serves: the machine is busy with loading, and so is the caller's."""

_PROBE_SECONDS = 10.0
_PROBE_TICK = 0.5
_DESCRIBED = b"Content-Type: application/json\r\nContent-Length: "


class Failed(Exception):
    """One exchange failed; `wait` is what the server asked for, in seconds."""

    def __init__(self, fault: Fault, reason: str, *, status: int = 0, wait: float | None = None) -> None:
        super().__init__(redacted(reason))
        self.fault = fault
        self.status = status
        self.wait = wait


class Fleet:
    """All replicas of one judge. Belongs to the event loop that first uses it.

    Args:
        urls: base URLs of the replicas.
        model: the model that a replica must serve to be in.
        api_key: sent as a bearer token, never logged.
        timeout: seconds of one exchange.
        outage: seconds that requests wait for a replica when all are down, counted from the last one's going: a judge
            that stays away costs that once, and not again for every request.
        probe_wait: seconds before a replica that was put aside is probed first.
    """

    def __init__(
        self,
        urls: Sequence[str],
        model: str,
        *,
        api_key: str | None,
        timeout: float,
        outage: float,
        probe_wait: float,
    ) -> None:
        self._model = model
        self._timeout = timeout
        self._outage = outage
        self._down_since: float | None = None
        self._key = api_key.strip() if api_key else ""
        endpoints = [Endpoint.parse(url, api_key=api_key) for url in urls]
        self._router = Router([url.rstrip("/") for url in urls], first_wait=probe_wait)
        self._endpoints = dict(zip(self._router.replicas, endpoints, strict=True))
        # What requests begin with: all of it but the length of the body.
        self._heads: dict[tuple[Replica, str], bytes] = {}
        self._client: Client | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._back = asyncio.Event()
        self._prober: asyncio.Task[None] | None = None
        self._closed = False

    def open(self) -> asyncio.AbstractEventLoop:
        """Make the client, on first use; returns the loop it belongs to.

        Raises:
            RuntimeError: it belongs to another loop than the running one.
            BackendError: it was closed.
        """
        loop = asyncio.get_running_loop()
        if self._client is None:
            if self._closed:
                raise BackendError("the backend is closed")
            self._loop = loop
            self._client = Client()
        elif loop is not self._loop:
            raise RuntimeError("this backend belongs to another event loop; make one backend for each loop")
        return loop

    async def check(self) -> int | None:
        """Ask every replica what it serves; those that are down are put aside. A fleet that was closed is open again.

        Returns:
            The smallest context length they tell, None if none does.

        Raises:
            ConfigError: none is up, or one is not what the settings say.
        """
        self._closed = False
        loop = self.open()
        replicas = self._router.replicas
        found = await asyncio.gather(
            *(self._outcome(self._models(replica, _CHECK_SECONDS)) for replica in replicas)
        )
        down = [(r, models) for r, models in zip(replicas, found, strict=True) if isinstance(models, Failed)]
        for replica, failed in down:
            if failed.fault is Fault.MISPLACED:
                raise self._misplaced(replica, failed)
        if len(down) == len(replicas):
            reasons = "; ".join(f"{replica.name}: {failed}" for replica, failed in down)
            urls = [replica.url for replica in replicas]
            raise ConfigError("judge.urls", urls, f"no judge answers ({reasons}); start it, or mend the URL")
        lengths = []
        for replica, models in zip(replicas, found, strict=True):
            if isinstance(models, Failed):
                continue
            if self._model not in models:
                served = ", ".join(models) or "nothing"
                raise ConfigError(
                    "judge.model", self._model, f"{replica.name} serves {served}; write that name"
                )
            lengths.append(models[self._model])
        for replica, models in zip(replicas, found, strict=True):
            # some may be aside, since before the fleet was closed
            if self._router.probed(replica, loop.time(), alive=not isinstance(models, Failed)):
                self._came_back(replica)
        for replica, failed in down:
            self._router.put_aside(replica, loop.time())
            self._went_aside(replica, failed)
        return min((length for length in lengths if length is not None), default=None)

    @staticmethod
    async def _outcome(models: Coroutine[Any, Any, dict[str, int | None]]) -> dict[str, int | None] | Failed:
        try:
            return await models
        except Failed as failed:
            return failed

    def _misplaced(self, replica: Replica, failed: Failed) -> ConfigError:
        if failed.status in (401, 403):
            given = "a key was sent" if self._endpoints[replica].authorized else "no key was sent"
            fix = f"{replica.name} answers {failed.status}; put its key into the environment variable named here"
            return ConfigError("judge.api_key_env", given, fix)
        return ConfigError("judge.urls", replica.url, f"not an OpenAI-compatible base URL ({failed})")

    def acquire(self, avoid: Collection[Replica]) -> Replica | None:
        """As `Router.acquire`. The caller gives it back by `succeeded`, `failed` or `release`."""
        return self._router.acquire(avoid)

    def has_other(self, tried: Collection[Replica]) -> bool:
        """As `Router.has_other`."""
        return self._router.has_other(tried)

    def release(self, replica: Replica) -> None:
        """As `Router.release`."""
        self._router.release(replica)

    def succeeded(self, replica: Replica) -> None:
        """A request was answered there."""
        if self._router.succeed(replica, self.open().time()):
            self._came_back(replica)

    def failed(self, replica: Replica, failed: Failed, began: float) -> None:
        """A request that began then failed there; what the fault says about the replica is acted on."""
        if failed.fault in (Fault.BUSY, Fault.REFUSED):
            self._router.release(replica)
            return
        dead = failed.fault is not Fault.BROKEN
        if self._router.fail(replica, self.open().time(), began=began, dead=dead):
            self._went_aside(replica, failed)

    async def post(self, replica: Replica, path: str, body: bytes, seconds: float) -> bytes:
        """The body of the answer with status 200 to one request.

        Raises:
            Failed: there is none within `seconds` or the timeout, whichever is less.
        """
        head = self._heads.get((replica, path))
        if head is None:
            head = self._endpoints[replica].head("POST", path) + _DESCRIBED
            self._heads[replica, path] = head
        request = b"%b%d\r\n\r\n%b" % (head, len(body), body)
        return await self._exchange(replica, request, min(seconds, self._timeout))

    async def until_back(self, seconds: float) -> None:
        """Wait until a replica is in.

        Raises:
            TimeoutError: none was, within `seconds` or the outage that is waited for.
        """
        if not self._router.available:
            now = self.open().time()
            down = now - (self._down_since if self._down_since is not None else now)
            self._back.clear()
            async with asyncio.timeout(max(0.0, min(seconds, self._outage - down))):
                await self._back.wait()

    async def aclose(self) -> None:
        """Close the client and end the probes, until the next `check`; idempotent. Requests in flight fail."""
        self._closed = True
        prober, self._prober = self._prober, None
        client, self._client = self._client, None
        if prober is not None:
            prober.cancel()
            await asyncio.wait([prober])
        if client is not None:
            await client.aclose()

    def _went_aside(self, replica: Replica, failed: Failed) -> None:
        logger.warning("judge %s is put aside and probed until it is back: %s", replica.name, failed)
        if not self._router.available and self._down_since is None:
            self._down_since = self.open().time()
        if self._prober is None or self._prober.done():
            self._prober = self.open().create_task(self._keep_probing(), name="rrm judge probes")

    def _came_back(self, replica: Replica) -> None:
        logger.warning("judge %s is back", replica.name)
        self._down_since = None
        self._back.set()

    async def _keep_probing(self) -> None:
        """Probe what is aside until nothing is."""
        loop = self.open()
        while (at := self._router.next_probe()) is not None:
            # Short sleeps: another replica may be put aside meanwhile, and be due earlier.
            await asyncio.sleep(max(0.0, min(at - loop.time(), _PROBE_TICK)))
            await asyncio.gather(*(self._probe(replica) for replica in self._router.due(loop.time())))

    async def _probe(self, replica: Replica) -> None:
        try:
            alive = self._model in await self._models(replica, _PROBE_SECONDS)
        except Failed:
            alive = False
        if self._router.probed(replica, self.open().time(), alive=alive):
            self._came_back(replica)

    async def _models(self, replica: Replica, seconds: float) -> dict[str, int | None]:
        request = self._endpoints[replica].request("GET", "/models")
        payload = await self._exchange(replica, request, min(self._timeout, seconds))
        try:
            return decode_models(payload)
        except ValueError as error:
            raise Failed(Fault.MISPLACED, str(error)) from error

    async def _exchange(self, replica: Replica, request: bytes, seconds: float) -> bytes:
        """The body of an answer with status 200; everything else is `Failed`."""
        client = self._client
        if client is None:
            raise BackendError("the backend is closed")
        try:
            reply = await client.exchange(self._endpoints[replica], request, seconds)
        except Unreachable as error:
            fault = Fault.BUSY if error.ours else Fault.MISPLACED if error.misplaced else Fault.DEAD
            raise Failed(fault, str(error)) from error
        except TimeoutError as error:
            # It has been waited for long enough: the next try needs no pause.
            raise Failed(Fault.BROKEN, "timeout", wait=0.0) from error
        except (ReplyError, OSError) as error:
            raise Failed(Fault.BROKEN, str(error)) from error
        if reply.status != 200:
            reason = f"HTTP {reply.status} {reply.body[:200].decode('utf-8', 'replace')}"
            if (target := reply.headers.get("location")) is not None:
                reason = f"HTTP {reply.status}, it points to {redacted(target[:200])}"
            if self._key:  # some servers say which key they do not like
                reason = reason.replace(self._key, HIDDEN)
            wait = retry_after(reply.headers.get("retry-after"))
            raise Failed(fault_of(reply.status), reason, status=reply.status, wait=wait)
        return reply.body
