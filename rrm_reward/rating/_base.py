"""What a rating is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from rrm_reward.options import Option
from rrm_reward.rating._strength import Model
from rrm_reward.types import FloatArray, Outcome, PositionBelief, Ratings


class Rating(ABC):
    """A pure function from a group's outcomes to one number per response, and what its numbers mean.

    Attributes:
        OPTIONS: what a user may set in ``rating.options``.
        SCHEDULES: names of the schedules it is defined for, None for all.
        POSTERIOR: whether values are means of a posterior, and standard errors its deviations; otherwise they are
            estimates, and their errors.
        POSITION: whether it has a position term; others ignore what is believed of it (it is learnt all the same).
        unit: of the values, for people.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {}
    SCHEDULES: ClassVar[tuple[str, ...] | None] = None
    POSTERIOR: ClassVar[bool] = False
    POSITION: ClassVar[bool] = False
    unit: ClassVar[str]

    @property
    @abstractmethod
    def neutral(self) -> float:
        """The rating of a response that is as good as its group's average."""

    @property
    @abstractmethod
    def spread(self) -> float:
        """How far above `neutral` a rating is worth a natural reward of 1; positive."""

    @property
    def knows_error(self) -> bool:
        """Whether it gives standard errors."""
        return True

    @property
    def model(self) -> Model:
        """By what a group's outcomes are explained where the judge's position bias is learnt from them."""
        return Model()

    @abstractmethod
    def expected(self, value: FloatArray) -> FloatArray:
        """Expected score in [0, 1] against an average response, increasing in the value, NaN for NaN."""

    @abstractmethod
    def __call__(
        self, n: int, outcomes: Sequence[Outcome], position: PositionBelief | None = None
    ) -> Ratings:
        """Rate responses 0 to n-1.

        Args:
            n: number of responses.
            outcomes: of their matches, in any order (online Elo alone reads an order into it; see there).
            position: what is believed of the judge's preference for Assistant 1; None where nothing is learnt.

        Returns:
            Values and standard errors, shape (n,) each; NaN for a response without an outcome.
        """

    @classmethod
    def make(cls, *, seed: int, options: Mapping[str, Any], given: Mapping[str, Any]) -> Self:
        """The rating with these options.

        Args:
            seed: for ratings that draw.
            options: every option, checked one by one.
            given: only those the user set, for ratings whose options exclude each other.

        Raises:
            ConfigError: options that do not go together.
        """
        return cls(**options)
