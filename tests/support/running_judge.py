"""The loopback judge in a thread of its own, for code that runs an event loop itself (the command line)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tests.support.loopback_judge import LoopbackJudge

Kind = TypeVar("Kind", bound=LoopbackJudge)


@contextmanager
def running_judge(kind: type[Kind] = LoopbackJudge, **settings: Any) -> Iterator[Kind]:  # type: ignore[assignment]
    """A judge that serves until the block ends; its attributes may be read and changed meanwhile."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="loopback judge")
    thread.start()
    judge = kind(**settings)
    try:
        asyncio.run_coroutine_threadsafe(judge.start(), loop).result(120)
        try:
            yield judge
        finally:
            asyncio.run_coroutine_threadsafe(judge.stop(), loop).result(120)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
