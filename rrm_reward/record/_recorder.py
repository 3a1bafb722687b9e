"""What the arena tells whoever writes things down."""

from __future__ import annotations

from typing import Protocol

from rrm_reward.judge import Judgment
from rrm_reward.types import GroupResult, Match, Query


class Recorder(Protocol):
    """Is told of everything; must not raise, and must be quick."""

    def opened(self, sequence: int, id: str, query: Query, size: int) -> None:
        """A group was opened; `sequence` is unique in this arena, `id` need not be."""
        ...

    def judged(self, sequence: int, match: Match, judgment: Judgment, seconds: float, *, late: bool) -> None:
        """A comparison came back; `late` if its group was closed already."""
        ...

    def closed(self, sequence: int, result: GroupResult) -> None:
        """A group got its result."""
        ...

    def snapshot(self) -> dict[str, float]:
        """Counters, to be shown beside the arena's."""
        ...

    def close(self) -> None:
        """Write what is left; idempotent."""
        ...
