"""One request, and the replicas that it is tried on, one after the other.

    request = Request(crew, prefix, timeout=600.0, patience=1800.0, retries=3, counts=counts)
    while missing:
        async with request.attempt(missing) as (keeper, seconds):
            ...                         # whatever is raised here is asked elsewhere at the next attempt

A request that was there when `retries` replicas died is given up, for it may be what kills them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rrm_reward.cluster._crew import Crew
from rrm_reward.cluster._engine import Declined
from rrm_reward.cluster._keeper import Keeper
from rrm_reward.cluster._life import said
from rrm_reward.cluster._routing import Member
from rrm_reward.judge import BackendError


class Request:
    """See the module's text. Belongs to a running event loop.

    Args:
        crew: to choose from.
        prefix: of the prompt, see `prefix_of`.
        timeout: seconds of one attempt.
        patience: seconds of all.
        retries: replicas that may die under it.
        counts: ``moved`` and ``aborted`` calls are counted here.
        prefer: a replica that has this prompt in its cache.

    Attributes:
        member: the replica of the last attempt.
    """

    def __init__(
        self,
        crew: Crew,
        prefix: str,
        *,
        timeout: float,
        patience: float,
        retries: int,
        counts: Counter[str],
        prefer: Member | None = None,
    ) -> None:
        self._crew = crew
        self._counts = counts
        self._prefix = prefix
        self._timeout = timeout
        self._patience = patience
        self._deadline = asyncio.get_running_loop().time() + patience
        self._retries = retries
        self._prefer = prefer
        self._failed: list[Member] = []
        self._reason = "no replica is left"
        self.member: Member | None = None

    @asynccontextmanager
    async def attempt(self, votes: int) -> AsyncIterator[tuple[Keeper, float]]:
        """The next replica, with so many votes to draw, and the seconds it has. What it raises is noted, and no more.

        Raises:
            BackendError: the request is given up, or no replica can answer it.
        """
        member = await self._choose(votes)
        self.member = member
        keeper = self._crew.keepers[member]
        try:
            yield keeper, min(self._timeout, self._remaining())
        except Declined as error:
            raise BackendError(said(error)) from error
        except (GeneratorExit, asyncio.CancelledError):
            self._counts["aborted"] += 1
            raise
        except Exception as error:
            # Ray's exceptions and those of an engine: whatever it is, another replica may do better
            self._reason = f"{member.name}: {said(error)}"
            self._failed.append(member)
            self._counts["moved"] += 1
            keeper.suspect()
        finally:
            self._crew.roster.release(member, votes)

    async def _choose(self, votes: int) -> Member:
        while True:
            remaining = self._remaining()
            if remaining <= 0:
                raise BackendError(f"no answer within {self._patience:g} s; last: {self._reason}")
            if len(self._failed) > self._retries:
                raise BackendError(f"failed on {len(self._failed)} replicas; last: {self._reason}")
            member = self._crew.roster.acquire(self._prefix, self._failed, votes, self._prefer)
            if member is not None:
                return member
            await self._crew.until_available(self._deadline, self._reason)

    def _remaining(self) -> float:
        return self._deadline - asyncio.get_running_loop().time()
