"""The values that travel between the rooms of this package, in the words of the method.

query · response · group (all responses to one query) · match (a pair i, j) · order (which one is Assistant 1) ·
vote (one sampled judgment of a match in one order) · verdict (a parsed vote) · outcome (a match's votes as a win
probability, or missing) · rating (a real number per response, with standard error) · reward (what the trainer gets).

This file imports nothing of the package and knows no judge, no trainer and no clock.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Query = str | Sequence[Mapping[str, Any]]
"""A query as text, or as chat messages ``{"role", "content"}`` of which the last asks."""

FloatArray = np.ndarray[Any, np.dtype[np.float64]]  # numpy.typing's NDArray, which is slow to import


class NoVerdict(enum.StrEnum):
    """Why a vote holds no verdict."""

    TRUNCATED = "truncated"
    """The completion ran into its token limit before a verdict."""
    UNPARSEABLE = "unparseable"
    """The completion ended by itself and holds no verdict after its reasoning."""
    CONTRADICTORY = "contradictory"
    """The final answer boxes both assistants in one breath, so that neither is meant."""
    ERROR = "error"
    """No completion came back: HTTP error, timeout, refused, or the backend failed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A parsed completion: ``choice`` is 1 or 2 (the assistant preferred), or None with ``reason`` set."""

    choice: int | None
    reason: NoVerdict | None = None

    def __post_init__(self) -> None:
        if (self.choice is None) == (self.reason is None) or self.choice not in (1, 2, None):
            raise ValueError(
                f"a verdict is 1, 2, or none with a reason, not {self.choice!r}, {self.reason!r}"
            )


@dataclass(frozen=True, slots=True)
class Vote:
    """One sampled judgment of a match (i, j) in one order.

    Attributes:
        i_first: True if response i was shown as Assistant 1.
        verdict: what was read from the completion.
        prompt_tokens, completion_tokens: as the backend counted them, 0 if unknown.
        text: the judge's completion, reasoning included; None where it was not kept.
        soft: probability in [0, 1] that Assistant 1 is better, forced out of a truncated completion, whose `verdict`
            still says that it was truncated. None for every other vote.
        stored: whether it came out of the verdict store, for free; its tokens are what it cost when it was paid.
    """

    i_first: bool
    verdict: Verdict
    prompt_tokens: int = 0
    completion_tokens: int = 0
    text: str | None = None
    soft: float | None = None
    stored: bool = False

    @property
    def for_i(self) -> bool | None:
        """True if the vote is for i, False if for j, None without a verdict."""
        if self.verdict.choice is None:
            return None
        return (self.verdict.choice == 1) == self.i_first

    @property
    def share_for_i(self) -> float | None:
        """What the vote counts for i: 1 or 0, a probability if it was forced, None if it does not count."""
        if self.verdict.choice is not None:
            return float((self.verdict.choice == 1) == self.i_first)
        if self.soft is None:
            return None
        return self.soft if self.i_first else 1 - self.soft


@dataclass(frozen=True, slots=True)
class Match:
    """A pair of responses to be compared.

    The tournament orients its pairs so that over a group each response stands first about equally often: with
    the order policy ``balanced``, i is Assistant 1.

    Attributes:
        i, j: indices of the responses in their group, i != j.
        round: 0-based round of the schedule, where it has rounds.
        depth: length of the longest chain of matches that begins with this one (1: nothing waits for it). The
            arena serves deep matches first.
    """

    i: int
    j: int
    round: int = 0
    depth: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a match came to.

    Attributes:
        i, j: as in the match.
        p: share of the votes for i in [0, 1]; 0.5 is an honest tie; None is missing. A failed, truncated or
            unparseable verdict is missing: never a loss and never a tie.
        votes: every vote that was cast or tried, also those without a verdict.
        round: as in the match.
    """

    i: int
    j: int
    p: float | None
    votes: tuple[Vote, ...] = ()
    round: int = 0


@dataclass(frozen=True, slots=True)
class Ratings:
    """One real number per response.

    Attributes:
        value: shape (n,), float64, NaN for a response without an outcome.
        stderr: shape (n,), standard error in the same unit, NaN where unknown.
    """

    value: FloatArray
    stderr: FloatArray


@dataclass(frozen=True, slots=True)
class PositionBelief:
    """What is believed of the judge's preference for Assistant 1, whoever that is.

    Attributes:
        mean: log-odds added to every vote in favour of Assistant 1; 0 for an unbiased judge.
        deviation: standard deviation of that, at least 0; 0 is certainty.
    """

    mean: float = 0.0
    deviation: float = 0.0


@dataclass(frozen=True, slots=True)
class Group:
    """All responses to one query.

    Attributes:
        id: names the group in logs and outputs. Seeds derive from the query, not from the id, so that every
            trainer gives the same group the same numbers.
        query: see `Query`.
        responses: one text per slot; None is a member that failed.
    """

    id: str
    query: Query
    responses: Sequence[str | None]


@dataclass(frozen=True, slots=True)
class GroupResult:
    """What a group came to.

    Attributes:
        id: as in the group.
        rewards: shape (n,), NaN where nothing is known.
        ratings: shape (n,) each; identical responses share one rating.
        outcomes: every match that was recorded, with indices of slots.
        comparisons: matches that were played, missing ones included.
        calls: votes that were asked for (a request with n=k counts k), re-asks included.
        missing: matches without an outcome.
        prompt_tokens, completion_tokens: spent by the judge on this group.
        seconds: from the first member's arrival to the result.
        notes: counters of what is worth knowing, for example ``duplicates``, ``failed``, ``expired``, ``unneeded``
            (comparisons that began and belong to no match, see `rrm_reward._ahead`).
        position: the belief about the judge's position bias that the ratings used, as it was when the group was
            closed and before the group itself taught it anything; None where none is learnt. Outcomes and this give
            the same ratings again.
        lengths: characters of each response as the judge sees it, 0 for a member that did not come; empty if unknown.
        standing: by slot, the lowest slot of all whose responses look the same to the judge, which played for them;
            None for a member that did not come. Empty if unknown.
    """

    id: str
    rewards: FloatArray
    ratings: Ratings
    outcomes: tuple[Outcome, ...]
    comparisons: int
    calls: int
    missing: int
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    notes: Mapping[str, int] = field(default_factory=dict)
    position: PositionBelief | None = None
    lengths: tuple[int, ...] = ()
    standing: tuple[int | None, ...] = ()
