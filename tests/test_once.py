"""A start that many wait for, on a fake clock."""

from __future__ import annotations

import asyncio

import pytest

from rrm_reward._once import Once
from tests.support.clock import run

PAUSE = 100.0


class Work:
    """Takes ten seconds; fails while it is told to."""

    def __init__(self) -> None:
        self.runs = 0
        self.fails = False
        self.once = Once(self._run, pause=PAUSE)

    async def _run(self) -> int:
        self.runs += 1
        await asyncio.sleep(10.0)
        if self.fails:
            raise OSError(f"run {self.runs}")
        return self.runs


def test_it_runs_once_for_all_who_wait_and_whoever_comes_later() -> None:
    async def main() -> None:
        work = Work()
        assert await asyncio.gather(*(work.once() for _ in range(5))) == [1] * 5
        assert await work.once() == 1

    run(main())


def test_whoever_is_cancelled_leaves_it_to_the_others_even_if_nobody_else_is_there_yet() -> None:
    async def main() -> None:
        work = Work()
        first = asyncio.create_task(work.once())
        await asyncio.sleep(5.0)
        first.cancel()
        await asyncio.wait([first])
        assert first.cancelled()
        began = asyncio.get_running_loop().time()
        assert await work.once() == 1
        assert asyncio.get_running_loop().time() - began == 5.0

    run(main())


def test_failure_is_told_at_once_for_a_while_and_then_it_is_tried_again_by_one() -> None:
    async def main() -> None:
        work = Work()
        work.fails = True
        told = await asyncio.gather(*(work.once() for _ in range(5)), return_exceptions=True)
        assert [str(error) for error in told] == ["run 1"] * 5
        await asyncio.sleep(PAUSE - 1.0)
        began = asyncio.get_running_loop().time()
        with pytest.raises(OSError, match="run 1"):
            await work.once()
        assert asyncio.get_running_loop().time() == began
        await asyncio.sleep(1.0)
        work.fails = False
        assert await asyncio.gather(*(work.once() for _ in range(5))) == [2] * 5

    run(main())


def test_run_that_is_cancelled_from_inside_is_a_failure_like_any_other() -> None:
    async def main() -> None:
        async def run_it() -> None:
            raise asyncio.CancelledError

        once = Once(run_it, pause=PAUSE)
        with pytest.raises(RuntimeError, match="given up"):
            await once()

    run(main())


def test_closing_gives_a_run_up_tells_who_waits_for_it_and_begins_no_other() -> None:
    async def main() -> None:
        work = Work()
        waiting = asyncio.create_task(work.once())
        await asyncio.sleep(5.0)
        await work.once.aclose()
        with pytest.raises(RuntimeError, match="given up"):
            await waiting
        await asyncio.sleep(PAUSE)
        with pytest.raises(RuntimeError, match="given up"):
            await work.once()
        assert work.runs == 1

    run(main())


def test_closing_what_never_ran_or_has_ended_changes_nothing() -> None:
    async def main() -> None:
        work = Work()
        assert await work.once() == 1
        await work.once.aclose()
        assert await work.once() == 1
        fresh = Work()
        await fresh.once.aclose()
        with pytest.raises(RuntimeError, match="given up"):
            await fresh.once()

    run(main())
