"""OpenRLHF's contract for remote reward models: ``{"query": [s], "prompts": [p], "labels": [l]}`` to a reward.

What its client does (`openrlhf/utils/agent.py`): one sample a request, 180 s a try, five tries with a second between
them, and a sample that still has no answer is None, which ends the run. So an answer is always a finite number, and it
comes before the fifth try is over, whatever became of the siblings.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from rrm_reward.assembler import UNKNOWN, SampleReward
from rrm_reward.service._desk import Desk
from rrm_reward.service._errors import Refused
from rrm_reward.service._reading import Sample
from rrm_reward.service._seats import Seats, Table

logger = logging.getLogger(__name__)

PATIENCE = 870.0
"""Seconds from a sample's first try to its answer at the latest; the client's five tries take 904."""

_SWEEP_SECONDS = 5.0
_TAIL = 64
_END = re.compile(r"(?:\s*(?:<\|[^<>|\s]{1,32}\|>|<｜[^<>｜\s]{1,32}｜>|</s>|<eos>|<end_of_turn>))+\s*\Z")
"""Special tokens that close a response: the sequence is decoded with them."""


class Gone(Exception):
    """The client left before its answer."""


class OpenRLHF:
    """Seats samples by their prompt and has the desk judge them.

    Args:
        desk: where they are judged.
        size: samples of a prompt.
        gather: seconds that a prompt's first sample waits for its siblings; then those present are judged.

    Attributes:
        counts: ``unsplit`` sequences that do not begin with their prompt, ``incomplete`` groups, ``deserted`` groups,
            ``neutral`` answers to samples without a reward.
    """

    def __init__(self, desk: Desk, size: int, gather: float) -> None:
        self._desk = desk
        self._gather = gather
        self._seats = Seats(size)
        self._swept = -math.inf
        self.counts: Counter[str] = Counter()

    async def answer(
        self,
        prompt: str,
        sequence: str,
        listening: Callable[[Awaitable[SampleReward]], Awaitable[SampleReward]],
    ) -> dict[str, Any]:
        """What OpenRLHF takes, once the group is judged.

        Args:
            prompt: the prompt's text, chat template included.
            sequence: prompt and response, decoded with special tokens.
            listening: waits for the reward as long as the client does, and raises `Gone` when it leaves.

        Raises:
            Gone: the client left; its seat is kept for a while.
            Refused: as `Desk.submit`.
        """
        loop = asyncio.get_running_loop()
        self._sweep(loop.time())
        text = self._response(prompt, sequence)
        table, slot = self._seats.take(prompt, text, loop.time())
        if len(table.seats) == 1:
            loop.call_later(self._gather, self._complete, table, "incomplete")
        sample = Sample(table.name, slot, self._seats.size, prompt, text)
        remaining = PATIENCE - (loop.time() - self._seats.since(table, slot))
        try:
            reward = await listening(_at_the_latest(remaining, self._desk.submit(sample)))
        except Refused:
            table.closed = True  # nobody will complete it
            self._seats.forget(table)
            raise
        except BaseException:
            self._seats.leave(table, slot, loop.time())
            raise
        self._seats.serve(table, slot)
        self.counts["neutral"] += not reward.known
        return _row(reward)

    def _response(self, prompt: str, sequence: str) -> str:
        """The response in a sequence.

        Decoding does not always give the prompt back to the letter, and a long prompt is cut on the left; its end is
        the same in any case.
        """
        tail = prompt[-_TAIL:]
        begin = len(prompt) if sequence.startswith(prompt) else sequence.find(tail) + len(tail)
        if begin < len(tail):
            self.counts["unsplit"] += 1
            if self.counts["unsplit"] == 1:
                logger.error(
                    "a sequence does not begin with its prompt, and is judged whole: %.200r", sequence
                )
            begin = 0
        return _END.sub("", sequence[begin:])

    def _complete(self, table: Table, why: str) -> None:
        """Whoever has no seat by now will not get one."""
        if table.closed:
            return
        self._seats.close(table)
        if len(table.seats) < self._seats.size:
            self.counts[why] += 1
            logger.warning("%s: %d of %d samples of a prompt came", why, len(table.seats), self._seats.size)
        for slot in range(len(table.seats), self._seats.size):
            self._desk.withdraw(Sample(table.name, slot, self._seats.size, table.prompt, None))

    def _sweep(self, now: float) -> None:
        if now - self._swept >= _SWEEP_SECONDS:
            self._swept = now
            for table in self._seats.sweep(now):
                self._complete(table, "deserted")


async def _at_the_latest(seconds: float, reward: Awaitable[SampleReward]) -> SampleReward:
    try:
        async with asyncio.timeout(seconds):
            return await reward
    except TimeoutError:
        return UNKNOWN


def _row(reward: SampleReward) -> dict[str, Any]:
    """Plain finite numbers under the same names for every sample; those of the agent executor.

    Dynamic filtering keeps a group whose mean score lies strictly between 0 and 1. The mean reward of a comparison is
    the same for every group, so the score is s / (1 + s) of the standard deviation s of the group's rewards: 0 where
    the judge told nobody apart.
    """
    spread = (
        reward.group_spread if reward.group_spread > 1e-9 else 0.0
    )  # what rounding leaves of equal rewards
    return {
        "rewards": reward.filled,
        "scores": spread / (1.0 + spread),
        "extra_logs": {
            "rrm_rating": reward.rating if math.isfinite(reward.rating) else 0.0,
            "rrm_stderr": reward.stderr if math.isfinite(reward.stderr) else 0.0,
            "rrm_missing": reward.missing / reward.comparisons if reward.comparisons else 0.0,
            "rrm_judge_tokens": reward.completion_tokens / max(reward.group_size, 1),
            "rrm_known": float(reward.known),
            "rrm_group_size": float(reward.group_size),
        },
    }
