"""How many votes are asked for at once, and when a majority needs no more of them.

- ``none``: one request carries all votes of an order (``n=k``: the prompt is prefilled once).
- ``waves``: the fewest votes that can decide come first, then what is still needed. It generates least (3 votes
  instead of 5 where all agree). Each wave prefills the prompt again unless the server caches prefixes, and a split vote
  takes as many rounds as there are waves. For long thoughts and a judge that is mostly sure.
- ``race``: every vote is a request of its own, and those in flight are cancelled, at the server too, as soon as the
  majority is decided. A match takes as long as its median vote and not as its slowest. It prefills k times without
  prefix caching, and saves only the ends of the longest thoughts. For latency: with rounds that wait for each other.

Neither changes the majority: what is left out could not have changed it (`Ballot.decided`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rrm_reward.judge._asking import Asker, Question
from rrm_reward.judge._ballot import Ballot
from rrm_reward.judge._health import JudgeCounts
from rrm_reward.types import Vote


class Polling:
    """Polls a match.

    Args:
        asker: gets single votes.
        early_stop: ``none``, ``waves`` or ``race``.
        counts: is kept up to date.
    """

    def __init__(self, asker: Asker, early_stop: str, counts: JudgeCounts) -> None:
        self._asker = asker
        self._early_stop = early_stop
        self._counts = counts

    async def poll(self, ballot: Ballot, questions: Sequence[Question]) -> tuple[list[Vote], int]:
        """Every vote, and how many more were cancelled.

        Args:
            ballot: the rules of the match.
            questions: one for each of its orders.
        """
        if ballot.k > 1 and self._early_stop == "race":
            return await self._race(ballot, questions)
        if ballot.k > 1 and self._early_stop == "waves":
            return await self._waves(ballot, questions), 0
        if len(questions) == 1:
            return await self._asker.ask(questions[0], 0, ballot.k, ballot.decided), 0
        return await self._wave(ballot, questions, (), 0, ballot.k), 0

    async def _waves(self, ballot: Ballot, questions: Sequence[Question]) -> list[Vote]:
        votes: list[Vote] = []
        asked = 0
        while asked < ballot.k and not ballot.decided(votes):
            more = ballot.wave(votes, asked)
            votes += await self._wave(ballot, questions, votes, asked, more)
            asked += more
        self._counts.spared += (ballot.k - asked) * len(questions)
        return votes

    async def _wave(
        self, ballot: Ballot, questions: Sequence[Question], votes: Sequence[Vote], first: int, n: int
    ) -> list[Vote]:
        """n more votes in each order."""
        earlier = tuple(votes)

        def enough(own: Sequence[Vote]) -> bool:
            return ballot.decided((*earlier, *own))

        asks = [self._asker.ask(question, first, n, enough) for question in questions]
        return [vote for half in await asyncio.gather(*asks) for vote in half]

    async def _race(self, ballot: Ballot, questions: Sequence[Question]) -> tuple[list[Vote], int]:
        votes: list[Vote] = []
        racing = {
            asyncio.create_task(self._asker.ask(question, number, 1, ballot.decided))
            for question in questions
            for number in range(ballot.k)
        }
        try:
            while racing and not ballot.decided(votes):
                finished, racing = await asyncio.wait(racing, return_when=asyncio.FIRST_COMPLETED)
                for task in finished:
                    votes += task.result()
        finally:
            for task in racing:
                task.cancel()
            if racing:
                await asyncio.wait(racing)
        self._counts.cancelled += len(racing)
        return votes, len(racing)
