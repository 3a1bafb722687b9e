"""Checks of answers in processes that can be killed, for some never end and hold the interpreter while they run."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Sequence
from typing import Any

from rrm_reward.data._files import import_extra
from rrm_reward.data.pairs import _rules
from rrm_reward.data.pairs._journal import Journal, key_of


class Checker:
    """`_rules.agrees` with a time limit and a memory: the same answer is checked once, over all runs.

    Args:
        journal: of verdicts.
        processes: at work at once.
        seconds: that one check may take; its process is killed and replaced then.

    Attributes:
        killed: checks that took too long.

    Raises:
        ConfigError: pebble or math-verify is not installed.
    """

    def __init__(self, journal: Journal, processes: int = 2, seconds: float = 10.0) -> None:
        import_extra("math_verify")
        pebble = import_extra("pebble")
        self._expired = pebble.ProcessExpired
        # spawn: a fork of a process with threads and an event loop may hang before it has begun
        self._pool: Any = pebble.ProcessPool(
            processes, initializer=_rules.warm_up, context=multiprocessing.get_context("spawn")
        )
        self._journal = journal
        self._seconds = seconds
        self.killed = 0

    async def is_right(self, response: str, answers: Sequence[str], answer_type: str = "") -> bool | None:
        """See `_rules.is_right`; a check that takes too long or crashes cannot tell."""
        given = _rules.given_answer(response)
        if given is None:
            return None
        key = key_of("check", _rules.VERSION, given, list(answers), answer_type)
        known = self._journal.get(key)
        # one that was killed sooner than it would be now gets its time
        if known is None or (known["killed_after"] or self._seconds) < self._seconds:
            known = await self._check(given, answers, answer_type)
            self._journal.put(key, known)
        told: bool | None = known["told"]
        return told

    async def _check(self, given: str, answers: Sequence[str], answer_type: str) -> dict[str, Any]:
        work = (given, tuple(answers), answer_type)
        future = self._pool.schedule(_rules.agrees, work, timeout=self._seconds)
        try:
            return {"told": await asyncio.wrap_future(future), "killed_after": None}
        except (TimeoutError, self._expired):
            self.killed += 1
            return {"told": None, "killed_after": self._seconds}
        except Exception:
            # sympy and the LaTeX parser raise whatever they like on what models write
            return {"told": None, "killed_after": None}

    def close(self) -> None:
        """End the processes."""
        self._pool.stop()
        self._pool.join()
