"""All replicas of a judge as one: awake while anyone is inside, and one outage at a time.

    crew = Crew(launches, config, patience=1800.0, counts=Counter())
    first = await crew.launch()
    await crew.begin()                  # where the judge sleeps between uses, it sleeps now
    async with crew.awake():
        await crew.until_available(deadline)

Nothing here is a switch that could be left half turned. What is wanted follows from the number of users, keepers are
told of it at once, and all that is awaited is that they get there: whoever is cancelled while he waits leaves nothing
behind. Likewise the judge is down while it is wanted, nobody takes calls, and nobody is about to.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from rrm_reward._cluster_config import ClusterConfig
from rrm_reward.cluster._keeper import Keeper
from rrm_reward.cluster._life import Life, Lost, Phase
from rrm_reward.cluster._replica import Started
from rrm_reward.cluster._routing import Member, Roster
from rrm_reward.judge import BackendError

logger = logging.getLogger(__name__)


class Crew:
    """Keepers, and who wants them.

    Args:
        launches: begins a life, for each replica.
        config: timeouts, and the level of sleep; with 0 the judge is always awake.
        patience: seconds of an outage for which calls wait for its end.
        counts: ``outages``, ``sleeps`` and ``wakes`` are counted here.

    Attributes:
        roster: who takes calls.
        keepers: of its members.
    """

    def __init__(
        self,
        launches: Sequence[Callable[[], Life]],
        config: ClusterConfig,
        *,
        patience: float,
        counts: Counter[str],
    ) -> None:
        self.roster = Roster([f"judge-{index}" for index in range(len(launches))])
        self._config = config
        self._patience = patience
        self._counts = counts
        self._users = 0
        self._wanted = True
        self._begun = False
        self._down_since: float | None = None
        self._grace_until: float | None = None
        self._changed = asyncio.Event()
        self.keepers: dict[Member, Keeper] = {
            member: Keeper(member, launch, config, self._look)
            for member, launch in zip(self.roster.members, launches, strict=True)
        }

    async def launch(self) -> list[Started | BaseException]:
        """How everybody's first launch went: waits for all, but once one works only `hang_timeout` for the others.

        Those that are not known by then have a `TimeoutError`, and join when they are loaded.
        """
        firsts = [keeper.first for keeper in self.keepers.values()]
        await self._until(lambda: self.roster.available or all(first.done() for first in firsts))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.hang_timeout):
                await asyncio.wait(firsts)
        return [_outcome(first) for first in firsts]

    async def begin(self) -> None:
        """From now on users are counted and outages are told of; a judge that sleeps between uses goes to sleep."""
        self._begun = True
        self._ask()
        await self._until(self._settled)

    @property
    def asleep(self) -> int:
        """Replicas that sleep."""
        return sum(keeper.phase is Phase.ASLEEP for keeper in self.keepers.values())

    @asynccontextmanager
    async def awake(self) -> AsyncIterator[None]:
        """While anyone is inside, the judge is awake.

        Who enters while it wakes waits for everybody, but for the slow only `hang_timeout` after the first is awake.
        The last to leave waits until all memory is given back, whatever was raised inside. Even one who is cancelled
        waits for that, for somebody else will take the memory; cancelled again, he leaves at once, and it sleeps
        without him.
        """
        if not self._config.sleep:
            yield
            return
        try:
            self._users += 1
            self._ask()
            await self._until(lambda: self.roster.available or self._settled())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._grace_until):
                    await self._until(self._settled)
            yield
        finally:
            self._users -= 1
            self._ask()
            try:
                await self._until(self._given_back)
            except asyncio.CancelledError:
                await self._until(self._given_back)
                raise

    async def until_available(self, deadline: float, reason: str = "no replica is left") -> None:
        """Until a replica takes calls.

        Args:
            deadline: of the loop's clock.
            reason: why the caller has none, for the error.

        Raises:
            BackendError: none came in time, or within the patience of this outage; or the judge is to sleep.
        """
        if not self._wanted:
            raise BackendError("the judge is asleep: call it inside `async with judge.awake()`")
        if self._down_since is not None:
            deadline = min(deadline, self._down_since + self._patience)
        try:
            async with asyncio.timeout_at(deadline):
                await self._until(lambda: self.roster.available or not self._wanted)
        except TimeoutError:
            raise BackendError(f"no replica came back in time; last: {reason}") from None

    async def aclose(self) -> None:
        """End every replica. Who waits for one gets none."""
        self._begun = self._wanted = False
        await asyncio.gather(*(keeper.aclose() for keeper in self.keepers.values()))
        self._look()

    def _ask(self) -> None:
        """Tell everybody what is wanted."""
        wanted = self._begun and (self._users > 0 or not self._config.sleep)
        if wanted is not self._wanted:
            self._wanted = wanted
            self._grace_until = None
            self._counts["wakes" if wanted else "sleeps"] += 1
        for keeper in self.keepers.values():
            keeper.want(wanted)
        self._look()

    def _settled(self) -> bool:
        return all(keeper.settled for keeper in self.keepers.values())

    def _given_back(self) -> bool:
        return self._wanted or self._settled()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.wait()

    def _look(self) -> None:
        """Something changed: who waits looks again, and an outage begins or ends.

        It ends when a replica takes calls, and not when the judge sleeps: else calls would wait in every batch anew.
        """
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        if self.roster.available:
            if self._down_since is not None:
                logger.error("the judge is back")
            self._down_since = None
            if self._grace_until is None:
                self._grace_until = asyncio.get_running_loop().time() + self._config.hang_timeout
        elif self._down_since is None and self._begun and self._wanted and self._settled():
            self._down_since = asyncio.get_running_loop().time()
            self._counts["outages"] += 1
            logger.error(
                "EVERY judge replica is lost; calls wait %g s for one, then comparisons are missing",
                self._patience,
            )


def _outcome(first: asyncio.Future[Started]) -> Started | BaseException:
    """Of a launch."""
    if not first.done():
        return TimeoutError("it is still loading")
    if first.cancelled():
        return Lost("the judge was closed")
    return first.exception() or first.result()
