"""The hub in the trainer's own process, for a trainer that hands over whole batches.

It runs in a thread with an event loop of its own: the trainer is synchronous, and judging is not.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from rrm_reward.assembler import UNKNOWN, SampleReward
from rrm_reward.errors import ConfigError
from rrm_reward.integrations.verl._hub import Hub
from rrm_reward.integrations.verl._sample import Sample
from rrm_reward.integrations.verl._settings import Settings

Answer = TypeVar("Answer")

_TOTALS = (
    "groups",
    "comparisons",
    "calls",
    "missing",
    "unknown_rewards",
    "prompt_tokens",
    "completion_tokens",
)


@dataclass(frozen=True)
class Timing:
    """What the judging of a batch took, in seconds; waking and sleeping are 0 for a judge that is always awake."""

    wake: float
    judge: float
    sleep: float


class LocalHub:
    """What `HubClient` is to the other routes.

    Args:
        settings: of the job.
    """

    def __init__(self, settings: Settings) -> None:
        self._hub = Hub(settings.rrm, settings.verl.log)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="rrm-reward", daemon=True).start()
        self._totals: dict[str, float] = {}

    def start(self) -> None:
        """Load the judge, which sleeps afterwards if it is one that does.

        Raises:
            ConfigError: with key, value and fix.
        """
        wrong = self._run(self._hub.ready())
        if wrong is not None:
            raise ConfigError(*wrong)

    async def submit(self, sample: Sample) -> SampleReward:
        """See `HubClient.submit`."""
        return await self._hub.submit(sample, None) or UNKNOWN

    async def compare(self, token: str, query: str, response: str, reference: str) -> float:
        """See `HubClient.compare`."""
        answer = await self._hub.compare(token, query, response, reference, None)
        return float("nan") if answer is None else answer

    def run_awake(self, work: Sequence[Coroutine[Any, Any, Answer]]) -> tuple[list[Answer], Timing]:
        """All results, in order, with the judge awake in between."""
        return self._run(self._awake(work))

    def step_metrics(self, timing: Timing) -> dict[str, float]:
        """What happened since the last call, under names that verl logs."""
        now = self._run(self._hub.snapshot())
        step = {name: now.get(name, 0.0) - self._totals.get(name, 0.0) for name in _TOTALS}
        self._totals = now
        return {
            **{f"rrm/{name}": value for name, value in step.items()},
            "rrm/missing_share": step["missing"] / max(step["comparisons"], 1.0),
            "rrm/comparisons_per_s": step["comparisons"] / max(timing.judge, 1e-9),
            "rrm/first_share": now.get("first_share", 0.0),
            "rrm/reward_spread": now.get("reward_spread", 0.0),
            **{f"rrm/{name}": value for name, value in now.items() if name.startswith("judge_")},
            "rrm/wake_s": timing.wake,
            "rrm/judge_s": timing.judge,
            "rrm/sleep_s": timing.sleep,
        }

    def close(self) -> None:
        """Let the judge go."""
        self._run(self._hub.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _awake(self, work: Sequence[Coroutine[Any, Any, Answer]]) -> tuple[list[Answer], Timing]:
        began = time.monotonic()
        async with self._hub.awake():
            awake = time.monotonic()
            answers = await asyncio.gather(*work)
            judged = time.monotonic()
        return answers, Timing(awake - began, judged - awake, time.monotonic() - judged)

    def _run(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
