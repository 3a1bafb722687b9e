"""The arena of one engine whose judge does not start at once: on a fake clock, and without OpenRLHF."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from rrm_reward.cluster._life import Lost
from rrm_reward.errors import ConfigError
from rrm_reward.integrations.openrlhf import _rewarder
from rrm_reward.integrations.openrlhf._rewarder import PAUSE_SECONDS, Rewarder
from rrm_reward.integrations.openrlhf._settings import read_settings
from rrm_reward.judge import BackendError, Completion, Message, Sampling
from tests.support.clock import run

LOADS = 5.0
QUALITY = {"plum": 2, "peach": 1, "pear": 0}
WRONG = ConfigError("judge.model", "RRM-7B", "no such model")
ANYTHING = [
    *(BackendError("lost"), Lost("hung"), TimeoutError(), RuntimeError("as of Ray"), OSError()),
    # of a future that the start waited for
    asyncio.CancelledError(),
]


class MoodyBackend:
    """A judge that knows plums from pears, once it has started.

    Args:
        fate: of its starts, in turn: what each raises, or None for one that never ends; then they succeed.
        forces: it starts in any case, and its fate is that of `prepare`.
    """

    patience = 60.0
    context_tokens = 32_768

    def __init__(self, fate: Sequence[BaseException | None], forces: bool = False) -> None:
        self.fate, self.forces = list(fate), forces
        self.starts = self.calls = 0
        self.up = False

    async def start(self) -> None:
        if not self.forces:
            await self._load()

    async def prepare(self, endings: Sequence[str]) -> None:
        await self._load()

    async def _load(self) -> None:
        self.starts += 1
        await asyncio.sleep(LOADS)
        if self.fate:
            error = self.fate.pop(0)
            if error is None:
                await asyncio.Event().wait()
            else:
                raise error
        self.up = True

    async def complete(self, messages: Sequence[Message], n: int, sampling: Sampling) -> list[Completion]:
        self.calls += 1
        if not self.up:
            raise BackendError("the judge is not there")
        _, first, second = messages[-1]["content"].rsplit("### Assistant ", 2)
        one, two = (next(QUALITY[word] for word in QUALITY if word in text) for text in (first, second))
        return [Completion(f"</think>\\boxed{{Assistant {1 if one > two else 2}}}")] * n

    async def aclose(self) -> None:
        self.up = False


Make = Callable[..., tuple[Rewarder, MoodyBackend]]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A rewarder and its judge."""

    def make(
        *fate: BaseException | None, backend: str = "ray", forces: bool = False
    ) -> tuple[Rewarder, MoodyBackend]:
        judge = MoodyBackend(fate, forces)
        monkeypatch.setattr(_rewarder, "engine_backend", lambda _: judge)
        where = "urls: ['http://127.0.0.1:9/v1']" if backend == "openai" else "cluster: {replicas: 1}"
        force = "truncated" if forces else "none"
        file = tmp_path / "rrm.yaml"
        file.write_text(f"rrm: {{judge: {{backend: {backend}, model: RRM-7B, force: {force}, {where}}}}}\n")
        return Rewarder(read_settings(file)), judge

    return make


async def rewards(rewarder: Rewarder, reference: str | None = None) -> list[float]:
    """Of a group of two, whose first is the better one."""
    game = await rewarder.open("Which fruit?", 2, reference)
    for slot, text in enumerate(["a plum", "a pear"]):
        game.add(slot, text)
    return [(await game.share(slot)).reward for slot in range(2)]


@pytest.mark.parametrize(
    ("backend", "error"),
    [*(("ray", error) for error in ANYTHING), *(("openai", e) for e in (*ANYTHING, WRONG))],
)
@pytest.mark.parametrize(("reference", "right"), [(None, [1.0, -1.0]), ("a peach", [1.0, 0.0])])
def test_whatever_a_start_raises_a_later_group_gets_rewards(
    make: Make, backend: str, error: BaseException, reference: str | None, right: list[float]
) -> None:
    async def main() -> None:
        rewarder, _ = make(error, error, error, backend=backend)
        assert await rewards(rewarder, reference) == [0.0, 0.0]
        for _ in range(4):
            await asyncio.sleep(PAUSE_SECONDS)
            found = await rewards(rewarder, reference)
        assert found == right
        assert rewarder.wrong is None
        assert rewarder.counts["unstarted"] == 3
        await rewarder.aclose()

    run(main())


def test_verdicts_that_cannot_be_forced_yet_cost_no_rewards_and_are_prepared_later(make: Make) -> None:
    async def main() -> None:
        rewarder, judge = make(TimeoutError(), forces=True)
        judge.up = True
        assert await rewards(rewarder) == [1.0, -1.0]
        await asyncio.sleep(PAUSE_SECONDS)
        assert await rewards(rewarder) == [1.0, -1.0]
        assert judge.starts == 2
        await rewarder.aclose()

    run(main())


@pytest.mark.parametrize("fate", [(), (TimeoutError(),)], ids=["succeeds", "fails"])
def test_groups_at_once_wait_for_one_start(make: Make, fate: tuple[BaseException, ...]) -> None:
    async def main() -> None:
        rewarder, judge = make(*fate)
        await asyncio.gather(*(rewards(rewarder) for _ in range(20)))
        assert judge.starts == 1
        await asyncio.sleep(PAUSE_SECONDS)
        found = await asyncio.gather(*(rewards(rewarder) for _ in range(20)))
        assert found == [[1.0, -1.0]] * 20
        assert judge.starts == 1 + len(fate)
        await rewarder.aclose()

    run(main())


def test_a_start_that_failed_is_not_tried_again_at_once(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        rewarder, judge = make(*[BackendError("lost")] * 100)
        loop = asyncio.get_running_loop()
        while loop.time() < 100.0:
            await rewards(rewarder)
            await asyncio.sleep(0.1)
        assert judge.starts <= 1 + 100.0 / PAUSE_SECONDS
        await rewarder.aclose()

    caplog.set_level(logging.ERROR)
    run(main())
    said = [record for record in caplog.records if "cannot be started" in record.message]
    # the 1st, 2nd, 4th
    assert len(said) == 3


def test_a_group_that_is_cancelled_leaves_the_start_to_the_others(make: Make) -> None:
    async def main() -> None:
        rewarder, judge = make()
        first, second = (asyncio.create_task(rewards(rewarder)) for _ in range(2))
        await asyncio.sleep(LOADS / 2)
        first.cancel()
        assert await second == [1.0, -1.0]
        assert first.cancelled()
        assert judge.starts == 1
        await rewarder.aclose()

    run(main())


@pytest.mark.parametrize("backend", ["ray", "transformers"])
@pytest.mark.parametrize("reference", [None, "a peach"])
def test_a_setting_that_cannot_work_of_a_judge_that_the_run_loads_is_final_and_told(
    make: Make, reference: str | None, backend: str
) -> None:
    async def main() -> None:
        rewarder, judge = make(WRONG, WRONG, backend=backend)
        for _ in range(5):
            assert await rewards(rewarder, reference) == [0.0, 0.0]
            await asyncio.sleep(PAUSE_SECONDS)
        assert rewarder.wrong is WRONG
        assert (judge.starts, judge.calls) == (1, 0)
        await rewarder.aclose()

    run(main())


def test_a_setting_that_cannot_work_any_more_in_the_middle_of_a_run_costs_rewards_and_not_the_run(
    make: Make,
) -> None:
    async def main() -> None:
        rewarder, judge = make(backend="ray")
        assert await rewards(rewarder) == [1.0, -1.0]
        # the judge is asked to start again, for the referee, and its node is gone
        judge.fate.append(ConfigError("judge.cluster.replicas", 1, "no replica starts"))
        await rewards(rewarder, "a peach")
        assert rewarder.wrong is None
        assert rewarder.counts["unstarted"] == 1
        await asyncio.sleep(PAUSE_SECONDS)
        assert await rewards(rewarder) == [1.0, -1.0]
        await rewarder.aclose()

    run(main())


@pytest.mark.parametrize("error", [*ANYTHING, WRONG])
def test_closing_after_a_start_that_failed_raises_nothing(make: Make, error: BaseException) -> None:
    async def main() -> None:
        rewarder, _ = make(error)
        await rewards(rewarder)
        await rewarder.aclose()
        await rewarder.aclose()

    run(main())


@pytest.mark.parametrize("reference", [None, "a peach"])
def test_closing_while_a_start_is_under_way_ends_who_waits_for_it(make: Make, reference: str | None) -> None:
    async def main() -> None:
        rewarder, _ = make(None)
        group = asyncio.create_task(rewards(rewarder, reference))
        await asyncio.sleep(2 * LOADS)
        assert not group.done()
        await rewarder.aclose()
        assert await group == [0.0, 0.0]

    run(main())


@pytest.mark.parametrize("reference", [None, "a peach"])
def test_what_is_closed_starts_no_judge(make: Make, reference: str | None) -> None:
    async def main() -> None:
        rewarder, judge = make()
        await rewarder.aclose()
        assert await rewards(rewarder, reference) == [0.0, 0.0]
        assert judge.starts == 0

    run(main())


def test_closing_does_not_wait_for_ever_for_a_start_that_does_not_give_up(make: Make) -> None:
    async def main() -> None:
        rewarder, judge = make()
        stubborn = asyncio.Event()

        async def start() -> None:
            while not stubborn.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await stubborn.wait()

        judge.start = start  # type: ignore[method-assign]
        group = asyncio.create_task(rewards(rewarder))
        await asyncio.sleep(1.0)
        await asyncio.wait_for(rewarder.aclose(), 1000.0)
        stubborn.set()
        await group

    run(main())
