"""The judge of a whole job without Ray and on a fake clock: starts that fail or hang, and a host that is silent."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rrm_reward.cluster import _host
from rrm_reward.cluster._host import Host
from rrm_reward.cluster._keeper import SLEEP_SECONDS
from rrm_reward.cluster._shared import SharedJudge
from rrm_reward.config import JudgeConfig, load
from rrm_reward.errors import ConfigError
from rrm_reward.judge import BackendError, Completion, Message, Sampling
from tests.support.clock import run

START, HANG, TIMEOUT = 100.0, 20.0, 10.0
PATIENCE = 3 * TIMEOUT + HANG
LAUNCH = 2 * START + HANG + SLEEP_SECONDS
ASK: list[Message] = [{"role": "user", "content": "q"}]


class Group:
    """A `JudgeGroup` whose start takes as long as the test says, and whose users are counted."""

    context_tokens = 4096

    def __init__(self) -> None:
        self.starts = 0
        self.seconds = 10.0
        self.wrong: Exception | None = None
        self.users = 0
        self.most = 0
        self.waking = 0.0

    async def start(self) -> None:
        self.starts += 1
        await asyncio.sleep(self.seconds)
        if self.wrong is not None:
            raise self.wrong

    @asynccontextmanager
    async def awake(self) -> AsyncIterator[None]:
        self.users += 1
        self.most = max(self.most, self.users)
        try:
            await asyncio.sleep(self.waking)
            yield
        finally:
            self.users -= 1

    async def complete(self, messages: Any, n: int, sampling: Any) -> list[Completion]:
        return [Completion("1")] * n

    def snapshot(self) -> dict[str, float]:
        return {"present": 1.0}


@pytest.fixture
def config() -> JudgeConfig:
    return load(
        overrides=[
            "judge.backend=ray",
            "judge.model=RRM",
            f"judge.timeout={TIMEOUT}",
            f"judge.cluster.start_timeout={START}",
            f"judge.cluster.hang_timeout={HANG}",
            "judge.cluster.sleep=1",
        ]
    ).judge


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Group:
    group = Group()
    monkeypatch.setattr(_host.JudgeGroup, "from_config", lambda config, placement_groups: group)
    return group


def now() -> float:
    return asyncio.get_running_loop().time()


async def call(host: Any) -> Any:
    return await host.complete(ASK, 1, Sampling())


async def refused(host: Any) -> float:
    """Seconds after which a call is told that there is no judge."""
    began = now()
    with pytest.raises(BackendError):
        await call(host)
    return now() - began


def test_call_that_is_cancelled_while_the_judge_starts_leaves_the_start_to_the_next(config, group):
    async def main():
        host = Host(config)
        first = asyncio.create_task(call(host))
        await asyncio.sleep(5.0)
        first.cancel()
        await asyncio.wait([first])
        assert await call(host) == [Completion("1")]
        assert (group.starts, now()) == (1, 10.0)

    run(main())


def test_start_that_fails_is_told_to_all_who_wait_and_tried_again_by_one_after_a_while(config, group):
    async def main():
        group.wrong = ConfigError("judge.cluster.replicas", 9, "too many")
        host = Host(config)
        assert await asyncio.gather(*(refused(host) for _ in range(50))) == [10.0] * 50
        assert await host.start() == (None, ("judge.cluster.replicas", 9, "too many"))
        assert group.starts == 1
        with pytest.raises(BackendError, match="too many"):
            await call(host)
        await asyncio.sleep(HANG)
        group.wrong = None
        assert await host.start() == (4096, None)
        assert await call(host) == [Completion("1")]
        assert group.starts == 2

    run(main())


def test_start_that_hangs_is_waited_for_once_and_the_judge_is_there_when_it_is(config, group):
    async def main():
        group.seconds = 1000.0
        host = Host(config)
        assert await asyncio.gather(*(refused(host) for _ in range(50))) == [LAUNCH] * 50
        assert await refused(host) == 0.0
        began = now()
        with pytest.raises(BackendError, match="not started"):
            await host.hold("me")
        assert now() == began
        await asyncio.sleep(1000.0)
        assert await call(host) == [Completion("1")]
        assert group.starts == 1

    run(main())


def test_cause_of_a_failed_start_is_told_also_when_the_time_for_starts_is_over(config, group):
    async def main():
        group.wrong = RuntimeError("no space left on device")
        host = Host(config)
        await refused(host)
        await asyncio.sleep(LAUNCH)
        for _ in range(2):
            with pytest.raises(BackendError, match="no space left on device"):
                await call(host)

    run(main())


def test_holder_who_is_cancelled_holds_nothing_and_one_who_asks_twice_is_counted_once(config, group):
    async def main():
        group.waking = 5.0
        host = Host(config)
        await host.start()
        holding = asyncio.create_task(host.hold("me"))
        await asyncio.sleep(1.0)
        holding.cancel()
        await asyncio.wait([holding])
        assert group.users == 0
        await asyncio.gather(host.hold("me"), host.hold("me"))
        await host.hold("me")
        await host.hold("you")
        assert group.users == 2
        await host.release("me")
        await host.release("me")
        assert group.users == 1
        await host.release("you")
        assert group.users == 0

    run(main())


class Remote:
    """A host in another process as `SharedJudge` sees it: ``handle.method.remote(...)`` begins a call."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.deaf = self.dead = False
        self.deaf_to = ""
        self.lost = 0
        self.asked: Counter[str] = Counter()
        self.cancelled: list[asyncio.Task[Any]] = []

    def __getattr__(self, method: str) -> Any:
        remote = self

        class Method:
            def remote(self, *arguments: Any) -> Any:
                return asyncio.ensure_future(remote.answer(method, arguments))

        return Method()

    async def answer(self, method: str, arguments: tuple[Any, ...]) -> Any:
        from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError

        self.asked[method] += 1
        if self.deaf or method == self.deaf_to:
            await asyncio.sleep(1e9)
        if self.dead:
            cause = ModuleNotFoundError("No module named 'rrm_reward'")
            raise ActorDiedError(RayTaskError("Host.__init__", f"ModuleNotFoundError: {cause}", cause))
        if self.lost:
            self.lost -= 1
            raise ActorUnavailableError("it restarts", None)
        return await getattr(self.host, method)(*arguments)

    def cancel(self, call: asyncio.Task[Any]) -> None:
        self.cancelled.append(call)
        call.cancel()


@pytest.fixture
def remote(config: JudgeConfig, group: Group, monkeypatch: pytest.MonkeyPatch) -> Remote:
    remote = Remote(Host(config))
    monkeypatch.setattr(SharedJudge, "_host", lambda self: remote)
    monkeypatch.setattr("ray.cancel", remote.cancel)
    return remote


def test_host_that_restarts_is_asked_again(config, remote):
    async def main():
        judge = SharedJudge(config)
        await judge.start()
        assert judge.context_tokens == 4096
        remote.lost = 3
        assert await call(judge) == [Completion("1")]
        assert remote.asked["complete"] == 4
        # nor may it answer those that it could not be reached for, and be paid twice
        assert len(remote.cancelled) == 3

    run(main())


def test_nobody_waits_for_a_host_that_is_silent_and_it_answers_again_when_it_is_heard(config, remote, caplog):
    async def main():
        judge = SharedJudge(config)
        await judge.start()
        remote.deaf = True
        early = [asyncio.create_task(refused(judge)) for _ in range(50)]
        await asyncio.sleep(HANG)
        late = [asyncio.create_task(refused(judge)) for _ in range(50)]
        assert HANG < min(await asyncio.gather(*early)) <= max(await asyncio.gather(*early)) <= 2 * HANG
        assert max(await asyncio.gather(*late)) <= HANG
        assert await refused(judge) == 0.0
        assert caplog.text.count("comparisons are missing") == 1
        assert len(remote.cancelled) == 100
        remote.deaf = False
        await asyncio.sleep(HANG + 60.0)
        assert await call(judge) == [Completion("1")]
        await judge.aclose()

    run(main())


def test_call_that_is_cancelled_is_cancelled_in_the_host_too_and_is_no_silence(config, group, remote):
    async def main():
        judge = SharedJudge(config)
        await judge.start()
        group.waking = 1000.0
        asking = asyncio.create_task(call(judge))
        await asyncio.sleep(1.0)
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()
        assert len(remote.cancelled) == 1
        assert group.users == 0

    run(main())


def test_holder_whom_a_silent_host_did_not_hear_leave_is_told_of_when_it_is_heard(config, group, remote):
    async def main():
        judge = SharedJudge(config)
        await judge.start()
        async with judge.awake():
            assert group.users == 1
            remote.deaf = True
            began = now()
        assert HANG < now() - began <= 2 * HANG
        assert group.users == 1
        remote.deaf = False
        await asyncio.sleep(HANG + 60.0)
        assert group.users == 0

    run(main())


def test_host_that_was_heard_once_and_is_silent_again_is_waited_for_no_longer_than_the_first_time(
    config, remote
):
    async def main():
        judge = SharedJudge(config)
        await judge.start()
        async with judge.awake():
            for _ in range(3):
                remote.deaf = True
                assert await refused(judge) <= 2 * HANG
                remote.deaf, remote.deaf_to = False, "hold"
                await asyncio.sleep(HANG + 60.0)
            remote.deaf = True
            began = now()
        assert now() - began <= 2 * HANG
        await judge.aclose()

    run(main())


def test_judge_that_is_closed_while_the_host_is_silent_can_be_started_again(config, remote):
    async def main():
        judge = SharedJudge(config)
        await judge.start()
        remote.deaf = True
        await refused(judge)
        await judge.aclose()
        remote.deaf = False
        await judge.start()
        assert await call(judge) == [Completion("1")]
        await judge.aclose()

    run(main())


def test_whoever_lets_go_while_replicas_load_waits_for_their_memory(config, group):
    async def main():
        group.seconds = 50.0
        host = Host(config)
        calling = asyncio.create_task(call(host))
        await asyncio.sleep(1.0)
        calling.cancel()
        await host.release("me")
        assert now() == 50.0
        await host.release("me")
        assert now() == 50.0

    run(main())


def test_host_that_dies_whenever_it_is_started_is_a_mistake_that_is_told_soon(config, remote):
    async def main():
        remote.dead = True
        began = now()
        with pytest.raises(
            ConfigError, match=r"judge.backend='ray': .* dies whenever it is started: .*No module"
        ):
            await SharedJudge(config).start()
        assert now() - began < 10.0

    run(main())


def test_one_call_that_takes_too_long_is_no_silence(config, group, remote):
    async def main():
        judge = SharedJudge(config)
        await judge.start()
        group.waking = 1000.0
        assert await refused(judge) == PATIENCE
        group.waking = 0.0
        assert await call(judge) == [Completion("1")]
        await asyncio.sleep(1.0)
        assert await call(judge) == [Completion("1")]

    run(main())


def test_rollout_goes_on_without_a_judge_that_cannot_be_woken(config, group, remote, caplog):
    async def main():
        judge = SharedJudge(config)
        await judge.start()
        remote.deaf = True
        began = now()
        for _ in range(3):
            async with judge.awake():
                pass
        assert HANG < now() - began <= 2 * HANG
        assert "does not hear hold" in caplog.text
        await judge.aclose()

    caplog.set_level(logging.ERROR)
    run(main())


def test_what_a_start_died_of_is_said_and_not_what_ray_says_first(config, remote, group):
    async def main():
        group.wrong = RuntimeError("ray::Host.start()\n  File x\nRuntimeError: no space left on device")
        with pytest.raises(ConfigError, match=r"judge.backend='ray'.*no space left on device"):
            await SharedJudge(config).start()
        group.wrong = RuntimeError("")
        await asyncio.sleep(HANG)
        with pytest.raises(ConfigError, match="RuntimeError"):
            await SharedJudge(config).start()

    run(main())
