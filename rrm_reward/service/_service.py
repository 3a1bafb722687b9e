"""What the endpoints share: an arena, the desk, and what is told to whoever watches."""

from __future__ import annotations

import asyncio
import json
import math
import os

from rrm_reward.arena import Arena
from rrm_reward.assembler import SampleReward
from rrm_reward.build import build_assembler
from rrm_reward.config import RRMConfig
from rrm_reward.errors import RRMRewardError
from rrm_reward.rank import result_row
from rrm_reward.service._desk import Desk
from rrm_reward.service._errors import Refused
from rrm_reward.service._metrics import Metrics
from rrm_reward.service._openrlhf import OpenRLHF
from rrm_reward.service._reading import read_group, read_sample


class Service:
    """The service behind its endpoints; lives in the arena's event loop, which starts and closes the arena.

    Args:
        config: limits are those of its ``service``.
        arena: judges.

    Attributes:
        limits: see `ServiceConfig`.
        token: that clients must send, None for none.
        arena, desk: see there.
        openrlhf: None without ``service.group_size``.
        metrics: what ``/metrics`` shows.
    """

    def __init__(self, config: RRMConfig, arena: Arena) -> None:
        self.limits = config.service
        self.token = os.environ.get(config.service.token_env, "").strip() or None
        self.arena = arena
        self._assembler = build_assembler(config, arena)
        self.desk = Desk(self._assembler, config.service.max_waiting, self._patience)
        size = config.service.group_size
        self.openrlhf = OpenRLHF(self.desk, size, config.service.gather) if size is not None else None
        self.metrics = Metrics(self.snapshot)
        self._sizes: set[int] = set()

    async def rewards(self, raw: bytes) -> str:
        """A line of ``rank``'s output for the line in a body; cancelling it stops the judging.

        Raises:
            Refused: see `read_group` and `Desk.place`; 422 for a group that the schedule cannot judge.
        """
        id, group = read_group(raw, self.limits.max_group)
        with self.desk.place(len(group.responses)):
            try:
                return result_row(id, await self.arena.judge(group))
            except RRMRewardError as error:
                raise Refused(422, str(error)) from error

    async def sample(self, raw: bytes) -> str:
        """``{"reward", "rating", "stderr"}`` of the sample in a body, once its group is judged.

        Raises:
            Refused: see `read_sample` and `Desk.submit`; 422 for a size that the schedule cannot judge.
        """
        sample = read_sample(raw, self.limits.max_group)
        self._check_size(sample.size)
        return sample_row(await self.desk.submit(sample))

    def _check_size(self, size: int) -> None:
        """Refuse a size that the schedule cannot judge. Drawing a schedule takes a while, so once for each size."""
        if size in self._sizes:
            return
        try:
            self.arena.schedule(size, 0)
        except RRMRewardError as error:
            raise Refused(422, f"size cannot be {size}: {error}") from error
        self._sizes.add(size)

    def snapshot(self) -> dict[str, float]:
        """Counters and gauges by name: the arena's and its judge's, the assembler's, the desk's, OpenRLHF's."""
        counts = {"assembler": self._assembler.counts, "desk": self.desk.counts}
        if self.openrlhf is not None:
            counts["openrlhf"] = self.openrlhf.counts
        named = {f"{of}_{name}": float(n) for of, counter in counts.items() for name, n in counter.items()}
        held = {"held_responses": float(self.desk.held), "held_groups": float(self.desk.groups)}
        return {**self.arena.snapshot(), **named, **held}

    async def drain(self) -> bool:
        """Take no new groups and wait until the open ones are finished, their late members included.

        After ``service.drain`` seconds those that are left get what is known. Returns whether none was cut so.
        """
        self.desk.draining = True
        try:
            async with asyncio.timeout(self.limits.drain):
                await self.desk.empty()
        except TimeoutError:
            self.cut()
            return False
        return True

    def cut(self) -> None:
        """Every open group gets what is known, now."""
        self.desk.draining = True
        self._assembler.close()

    def _patience(self) -> int:
        """About the time in which a group is judged, in seconds."""
        return max(1, min(60, math.ceil(self.arena.metrics.snapshot()["seconds_per_group"])))


def sample_row(reward: SampleReward) -> str:
    """The answer to a sample; what is unknown is null."""
    numbers = {"reward": reward.reward, "rating": reward.rating, "stderr": reward.stderr}
    return json.dumps({name: x if math.isfinite(x) else None for name, x in numbers.items()})
