"""What a tournament is: a state machine over indices and outcomes.

A tournament never sees a text, a clock or a judge, so one object serves a whole batch and a stream, and its
tests need no mock. The bracket is drawn in the constructor, before any response exists, so it cannot depend
on who arrives first: fast rollouts are short ones, and pairing by arrival would seed by length.

Life of a slot::

    expected --add--> present --(plays)-->  ...
    expected --withdraw--> gone        present --withdraw--> gone

Every slot is added or withdrawn. A slot that is withdrawn while it is playing plays no further match; the one
that is being played stays as it is, and its result counts when it is recorded.
"""

from __future__ import annotations

from typing import Protocol

from rrm_reward.types import Match, Outcome


class Tournament(Protocol):
    """Decides which matches are played (sans-IO, as h11 is for HTTP)."""

    @property
    def n(self) -> int:
        """Number of slots."""
        ...

    @property
    def planned(self) -> int:
        """Matches that are played at most, if nobody withdraws; what ``--dry-run`` prints."""
        ...

    def add(self, i: int) -> None:
        """Response i has arrived. Adding twice, or after `withdraw`, changes nothing."""
        ...

    def withdraw(self, i: int) -> None:
        """Response i will never come, or is out: byes, not hangs. Safe at any time, idempotent."""
        ...

    def ready(self) -> list[Match]:
        """Matches that can be played now, each handed out exactly once over the tournament's life."""
        ...

    def record(self, outcome: Outcome) -> None:
        """A handed-out match came to this (`p` may be None); may make further matches ready.

        Raises:
            ValueError: the match was not handed out, or was recorded before.
        """
        ...

    @property
    def done(self) -> bool:
        """True once every slot is known and no match is ready, being played or still to come."""
        ...

    @property
    def outcomes(self) -> list[Outcome]:
        """Every recorded outcome, in the order of `record`."""
        ...
