"""Judges that are formulas, and groups judged by them: what `benchmarks.ranking` counts.

Every judge prefers Assistant 1 if ``q1 - q2 + bias + effect of the pair + N(0, noise) >= 0``, qualities q uniform on
[0, 1]. Tournaments, ratings, position bias and purse are the package's own; only the judge's answer is drawn here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rrm_reward.errors import ConfigError
from rrm_reward.rating import PositionBias, Rating, make_rating
from rrm_reward.tournament import Circumstances, Purse, Schedule, make_tournament
from rrm_reward.types import FloatArray, Match, NoVerdict, Outcome, PositionBelief, Verdict, Vote


@dataclass(frozen=True)
class JudgeModel:
    """How a judge errs.

    Attributes:
        bias: in favour of Assistant 1, in units of quality.
        noise: of every verdict.
        intransitive: standard deviation of what it makes of a pair, whichever order and however often it is asked.
        length: standard deviation of what it makes of a response's length, which has nothing to do with quality.
        missing: share of verdicts that never come.
    """

    bias: float = 0.0
    noise: float = 0.2
    intransitive: float = 0.0
    length: float = 0.0
    missing: float = 0.0


JUDGES = {
    "unbiased": JudgeModel(),
    "biased": JudgeModel(bias=0.3),
    "noisy": JudgeModel(noise=0.5),
    "intransitive": JudgeModel(noise=0.1, intransitive=0.25),
    "length-biased": JudgeModel(bias=0.1, length=0.2),
    "missing": JudgeModel(bias=0.3, missing=0.1),
}


@dataclass(frozen=True)
class Design:
    """A schedule with a rating, as a user would set them.

    Attributes:
        schedule, rating: by name.
        learns: whether the position term is learnt over the groups, from nothing.
        options: of the schedule; ``most`` asks for as much as the budget allows.
    """

    schedule: str
    rating: str
    learns: bool = False
    options: str = ""

    @property
    def name(self) -> str:
        parts = [self.schedule, self.options, self.rating, "learnt" if self.learns else ""]
        return " ".join(filter(None, parts))


ROUND_ROBIN = Design("round_robin", "bradley_terry", True)
ADAPTIVE = Design("adaptive", "bradley_terry", True)
DESIGNS = (
    ROUND_ROBIN,
    Design("round_robin", "bradley_terry"),
    Design("round_robin", "win_rate"),
    Design("round_robin", "elo", options="online"),
    ADAPTIVE,
    Design("adaptive", "bradley_terry"),
    Design("circular", "bradley_terry", True, "most"),
    Design("swiss", "bradley_terry", True, "most"),
    Design("anchor", "bradley_terry", True, "most"),
    Design("knockout", "placement"),
    Design("knockout", "placement", options="consolation"),
    Design("knockout", "bradley_terry", True, "consolation"),
    Design("double_elimination", "bradley_terry", True),
)


class Group:
    """One group before a judge: every design meets the same qualities, and the same verdict on the same ordered pair.

    No design asks an ordered pair twice, so those that ask the same get the same: they tie, by construction.
    """

    def __init__(self, judge: JudgeModel, n: int, seed: int, spread: float = 1.0) -> None:
        rng = np.random.default_rng(seed)
        self.quality: FloatArray = spread * rng.random(n)
        lengths = judge.length * rng.normal(size=n)
        effect = judge.intransitive * rng.normal(size=(n, n))
        worth = self.quality + lengths
        margin = worth[:, None] - worth[None, :] + np.triu(effect, 1) - np.triu(effect, 1).T + judge.bias
        self._first_wins = (margin + judge.noise * rng.normal(size=(n, n)) >= 0).tolist()
        self._missing = (rng.random((n, n)) < judge.missing).tolist()

    def ask(self, match: Match, both: bool) -> Outcome:
        """The match as the arena would record it, i first, or in both orders."""
        votes = []
        for i_first in (True, False) if both else (True,):
            first, second = (match.i, match.j) if i_first else (match.j, match.i)
            if self._missing[first][second]:
                votes.append(Vote(i_first, Verdict(None, NoVerdict.TRUNCATED)))
            else:
                votes.append(Vote(i_first, Verdict(1 if self._first_wins[first][second] else 2)))
        shares = [float(vote.for_i) for vote in votes if vote.for_i is not None]
        p = sum(shares) / len(shares) if shares else None
        return Outcome(match.i, match.j, p, tuple(votes), match.round)


@dataclass
class Player:
    """A design at work over the groups of one cell: its rating, what it learnt, what it saved."""

    design: Design
    n: int
    budget: int

    def __post_init__(self) -> None:
        options = {"mode": "online"} if self.design.options == "online" else {}
        self.rate: Rating = make_rating(self.design.rating, options=options)
        self.position = PositionBias() if self.design.learns else None
        self._purse = Purse()
        # Two calls a pair: the round robin asks both orders, as `judge.order=both` does.
        self.both = self.design.schedule == "round_robin" and self.budget >= self.n * (self.n - 1)

    def draw(self, seed: int) -> Schedule:
        """The tournament of a group.

        Raises:
            ConfigError: the budget is too small for this schedule.
        """
        belief = self.position.belief if self.position else PositionBelief()
        return make_tournament(
            self.design.schedule,
            self.n,
            seed=seed,
            budget=self.budget,
            options=_options(self.design, self.n),
            circumstances=Circumstances(belief, purse=self._purse),
        )

    def play(self, group: Group, seed: int) -> tuple[FloatArray, int]:
        """Ratings and judge calls of one group; unknown ratings are the mean of the known."""
        tournament = self.draw(seed)
        for slot in range(self.n):
            tournament.add(slot)
        calls = 0
        while not tournament.done:
            for match in tournament.ready():
                tournament.record(group.ask(match, self.both))
                calls += 1 + self.both
        outcomes = sorted(tournament.outcomes, key=lambda o: (o.round, o.i, o.j))
        value = self.rate(self.n, outcomes, self.position.belief if self.position else None).value
        if self.position:
            self.position.update(self.n, outcomes)
        known = ~np.isnan(value)
        return np.where(known, value, value[known].mean() if known.any() else 0.0), calls


def plays(design: Design, n: int, budget: int) -> bool:
    """Whether the design says anything at this budget that it does not say at a smaller one of the grid."""
    try:
        planned = Player(design, n, budget).draw(0).planned
    except ConfigError:
        return False
    return planned > budget // 2 or design.schedule == "round_robin"


def _options(design: Design, n: int) -> dict[str, Any]:
    if design.options == "consolation":
        return {"consolation": True}
    if design.options != "most":
        return {}
    most = {
        "circular": {"k": 2 * (n // 2) or 2},
        "swiss": {"rounds": max(2, n - 1)},
        "anchor": {"anchors": n - 1},
    }
    return most[design.schedule]


def kendall_tau(a: FloatArray, b: FloatArray) -> float:
    """Share of pairs in the same order less share in opposite order; tied pairs count neither way."""
    above = np.triu_indices(len(a), 1)
    return float(np.mean((np.sign(a[:, None] - a) * np.sign(b[:, None] - b))[above]))


def correlation(a: FloatArray, b: FloatArray) -> float:
    """Of advantages (any positive scale) with the truth; 0 where all advantages are 0."""
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 1e-12 else 0.0


def top_one(a: FloatArray, b: FloatArray) -> float:
    """Whether the best is rated best; shared, if several are."""
    best = a >= a.max() - 1e-12
    return float(best[b.argmax()] / best.sum())
