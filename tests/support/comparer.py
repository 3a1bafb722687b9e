"""A judge in memory for tests of the arena: it reads qualities from the texts and answers on the loop's own clock."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable

from rrm_reward.judge import Judgment
from rrm_reward.types import NoVerdict, Query, Verdict, Vote


def share_of(*parts: str) -> float:
    """A number in [0, 1) that depends on the texts alone."""
    digest = hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


class QualityJudge:
    """Prefers the text whose number is larger ("0.7 some words" has quality 0.7).

    Args:
        latency: seconds of one comparison of (a, b).
        noise: added to a's quality, a number that depends on the ordered pair alone: verdicts are reproducible,
            intransitive, and different in the two orders.
        missing: whether a comparison of (a, b) comes to nothing.
        width: requests in flight during one comparison.
    """

    def __init__(
        self,
        latency: Callable[[str, str], float] = lambda a, b: 1.0,
        noise: float = 0.0,
        missing: Callable[[str, str], bool] = lambda a, b: False,
        width: int = 1,
    ) -> None:
        self.latency, self.noise, self.missing, self.width = latency, noise, missing, width
        self.asked: Counter[tuple[str, str]] = Counter()
        self.in_flight = self.most_in_flight = 0
        self.begun: list[tuple[float, str, str]] = []
        self.closed = False

    async def start(self) -> None:
        pass

    async def aclose(self) -> None:
        self.closed = True

    def snapshot(self) -> dict[str, float]:
        return {}

    def view(self, response: str) -> str:
        return response.rsplit("</think>", 1)[-1].strip()

    async def compare(self, query: Query, a: str, b: str, *, seed: int = 0) -> Judgment:
        self.asked[a, b] += 1
        self.begun.append((asyncio.get_running_loop().time(), a, b))
        self.in_flight += self.width
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.latency(a, b))
        finally:
            self.in_flight -= self.width
        if self.missing(a, b):
            return Judgment(None, (Vote(True, Verdict(None, NoVerdict.TRUNCATED)),), 1)
        quality_a, quality_b = (float(text.split()[0]) for text in (a, b))
        first = quality_a + self.noise * (share_of(a, b) - 0.5) >= quality_b
        return Judgment(float(first), (Vote(True, Verdict(1 if first else 2), 10, 5),), 1)
