"""What a judge is to the arena: something that compares two texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from rrm_reward.types import Query, Vote


@dataclass(frozen=True, slots=True)
class Judgment:
    """What one comparison of a with b came to.

    Attributes:
        p: share of the votes for a in [0, 1], or None without any verdict.
        votes: every vote, `Vote.i_first` meaning "a first".
        calls: votes asked for, re-asks included, and those that the store answered or an early stop cancelled.
    """

    p: float | None
    votes: tuple[Vote, ...]
    calls: int


class Comparer(Protocol):
    """The arena's view of a judge (`rrm_reward.judge.Judge` is the real one)."""

    @property
    def width(self) -> int:
        """Requests that one `compare` has in flight at once (2 where both orders are asked)."""
        ...

    async def start(self) -> None:
        """Check and load everything; idempotent.

        Raises:
            ConfigError: with the key, the value and the fix.
        """
        ...

    async def aclose(self) -> None:
        """Release what `start` took; idempotent."""
        ...

    def snapshot(self) -> dict[str, float]:
        """Counters of its own, to be shown beside the arena's."""
        ...

    def view(self, response: str) -> str:
        """What the judge sees of a response; responses with equal views are identical to it."""
        ...

    async def compare(self, query: Query, a: str, b: str, *, seed: int = 0) -> Judgment:
        """Compare two views. With the order policy ``balanced``, a is Assistant 1.

        Args:
            query: see `rrm_reward.types.Query`.
            a: a text as `view` returned it.
            b: the text it is compared with.
            seed: of everything random in this comparison.

        Returns:
            A judgment; every fault of the judge is a vote without a verdict. Never raises but for cancellation.
        """
        ...
