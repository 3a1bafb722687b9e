"""An event loop whose time is a number: deadlines of hours pass in microseconds, and in a fixed order."""

from __future__ import annotations

import asyncio
import selectors


class _NoWaiting(selectors.SelectSelector):
    """A selector that never sleeps: where a loop would wait, its clock is put forward instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events:
            if timeout is None:
                raise RuntimeError("deadlock: everybody waits and no timer is set")
            self.now += timeout
        return events


class FakeClockLoop(asyncio.SelectorEventLoop):
    """`asyncio.sleep`, timeouts and `call_later` run on a clock that jumps to the next event."""

    def __init__(self) -> None:
        self._no_waiting = _NoWaiting()
        super().__init__(self._no_waiting)

    def time(self) -> float:
        return self._no_waiting.now


def run(main):
    """Run a coroutine on a fresh fake clock; what it leaves waiting for ever is an error, not a hang."""
    with asyncio.Runner(loop_factory=FakeClockLoop) as runner:
        return runner.run(main)
