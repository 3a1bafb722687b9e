"""Ratings: outcomes in, one number per response out.

    >>> rate = make_rating("bradley_terry")
    >>> ratings = rate(3, [Outcome(0, 1, 1.0), Outcome(1, 2, 1.0), Outcome(0, 2, 1.0)])
    >>> ratings.value.round(2).tolist()
    [0.93, 0.0, -0.93]

Ratings are pure functions: nothing is kept from one group to the next but what `PositionBias` learns about the
judge, and that is handed in. Missing outcomes (`p` None) are no
evidence for anybody; a response without any other outcome is NaN. Relabelling the responses permutes the
ratings and changes nothing else. A new rating is a file and a line in `RATINGS`; the property tests find it
there.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from rrm_reward.errors import ConfigError
from rrm_reward.options import pick, read_options
from rrm_reward.rating._base import Rating
from rrm_reward.rating._bradley_terry import BradleyTerry
from rrm_reward.rating._elo import Elo
from rrm_reward.rating._placement import Placement
from rrm_reward.rating._position import DEVIATION, DRIFT, PositionBias
from rrm_reward.rating._strength import PRIOR as BRADLEY_TERRY_PRIOR
from rrm_reward.rating._win_rate import WinRate
from rrm_reward.types import Outcome, PositionBelief, Ratings

RATINGS: Final[dict[str, type[Rating]]] = {
    "win_rate": WinRate,
    "elo": Elo,
    "bradley_terry": BradleyTerry,
    "placement": Placement,
}
"""Every rating by the name a user writes in ``rating.name``."""

_NONE: Final[Mapping[str, Any]] = MappingProxyType({})


def make_rating(name: str, *, seed: int = 0, options: Mapping[str, Any] = _NONE) -> Rating:
    """A rating, ready to be called with ``(n, outcomes)`` for any number of groups.

    Args:
        name: a rating of `RATINGS`.
        seed: only online Elo draws anything from it (its orders of play).
        options: further arguments of the rating.

    Raises:
        ConfigError: ``rating.name`` or ``rating.options.<option>``.
    """
    rating = pick("rating.name", RATINGS, name)
    return rating.make(
        seed=seed, options=read_options("rating.options", rating.OPTIONS, options), given=options
    )


def check_rating(name: str, options: Mapping[str, Any] = _NONE, *, schedule: str | None = None) -> None:
    """Find at start-up what cannot work.

    Args:
        name: a rating of `RATINGS`.
        options: its options.
        schedule: the schedule's name, if it is known: `placement` means something for a knockout only.

    Raises:
        ConfigError: ``rating.name`` or ``rating.options.<option>``.
    """
    make_rating(name, options=options)
    suited = RATINGS[name].SCHEDULES
    if schedule is not None and suited is not None and schedule not in suited:
        raise ConfigError(
            "rating.name", name, f"is defined for {', '.join(suited)}, not {schedule}; take bradley_terry"
        )


def position_bias(
    name: str,
    options: Mapping[str, Any] = _NONE,
    *,
    learn: bool | None = None,
    deviation: float = DEVIATION,
    drift: float = DRIFT,
    path: str | None = None,
) -> PositionBias | None:
    """What learns the judge's position bias beside this rating; None if nothing is to be learnt.

    Every rating sees the votes that it is learnt from. Bradley-Terry and Elo use it too; under the others it is known,
    logged, and there for schedules.

    Args:
        name: a rating of `RATINGS`.
        options: its options.
        learn: None learns unless ``options`` fix the rating's position term; a 0 fixes it too: there is none then.
        deviation: of what is believed before any group, in log-odds.
        drift: see `PositionBias`.
        path: see `PositionBias`.

    Raises:
        ConfigError: ``position.learn`` is true and ``options`` fix what would be learnt.
    """
    fixed = "position" in options
    if learn and fixed:
        raise ConfigError(
            "position.learn", learn, "rating.options.position fixes what would be learnt; leave one out"
        )
    if fixed if learn is None else not learn:
        return None
    model = make_rating(name, options=options).model
    return PositionBias(PositionBelief(0.0, deviation), drift=drift, model=model, path=path)


__all__ = [
    "BRADLEY_TERRY_PRIOR",
    "RATINGS",
    "Outcome",
    "PositionBelief",
    "PositionBias",
    "Rating",
    "Ratings",
    "check_rating",
    "make_rating",
    "position_bias",
]
