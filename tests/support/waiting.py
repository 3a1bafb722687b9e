"""Waiting in tests: until something is so, not for a while."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    """Return as soon as the condition holds; fail after `seconds`."""
    for _ in range(int(seconds / 0.005)):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"not so after {seconds} s")
