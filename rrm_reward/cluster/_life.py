"""What a replica is to its keeper: phases of a life, what can be asked of one, and how it ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from enum import Enum
from typing import Protocol

from rrm_reward.cluster._replica import Health, Started
from rrm_reward.judge import Completion, Message, Sampling

_LONGEST_LINE = 300


class Phase(Enum):
    """Where a replica is in its life."""

    OUT = "out"
    LAUNCHING = "launching"
    AWAKE = "awake"
    SLEEPING = "falling asleep"
    ASLEEP = "asleep"
    WAKING = "waking"
    LOST = "lost"
    CLOSED = "closed"


SETTLED = {
    True: {Phase.AWAKE, Phase.LAUNCHING, Phase.LOST, Phase.CLOSED},
    False: {Phase.OUT, Phase.ASLEEP, Phase.LOST, Phase.CLOSED},
}
"""Phases in which nothing is under way that has to be waited for, by whether the judge is to be awake. Launches may
take long, so an awake judge does without them; one that is to sleep cannot, for they take memory."""


class Gone(Exception):
    """The replica died, or is out of reach."""


class Lost(Exception):
    """Why a replica is of no use any more."""


class Life(Protocol):
    """A replica from launch to death. Whatever its methods raise is the end of it."""

    async def start(self) -> Started:
        """See `Replica.start`."""
        ...

    def stream(
        self, request: str, messages: Sequence[Message], n: int, sampling: Sampling, seconds: float
    ) -> AsyncGenerator[Completion, None]:
        """See `Keeper.stream`."""
        ...

    async def prepare(self, endings: Sequence[str]) -> str | None:
        """See `Replica.prepare`.

        Raises:
            Gone: the replica died.
        """
        ...

    async def next_token(self, completion: Completion, ending: str) -> Mapping[str, float]:
        """See `Replica.next_token`.

        Raises:
            Gone: the replica died.
        """
        ...

    async def health(self) -> Health:
        """See `Replica.health`."""
        ...

    async def sleep(self, level: int) -> bool:
        """See `Replica.sleep`."""
        ...

    async def wake(self) -> bool:
        """See `Replica.wake`."""
        ...

    async def aclose(self) -> None:
        """See `Replica.aclose`."""
        ...

    def kill(self) -> None:
        """End the process; calls in flight there fail at once. Never raises, not even where it is dead already."""
        ...


def said(error: BaseException) -> str:
    """One line of an exception. Ray's begin with its own stack, end with the cause, and go on about common ones."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    cause = lines[-1].partition(" Some common causes include")[0] if lines else ""
    if isinstance(error, Gone | Lost):
        return cause
    return f"{type(error).__name__}: {cause[:_LONGEST_LINE]}"
