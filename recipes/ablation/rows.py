"""The rows of the table: what gives the reward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BUDGET = {4: 4, 8: 12, 16: 32}
"""Comparisons a group by its size: n/2 log2 n, what a knockout with consolation needs. A ring of 8 has 8 or 16."""

REFERENCE = "bradley_terry"
"""The row that all others are paired with."""


@dataclass(frozen=True, slots=True)
class Row:
    """One way to a reward.

    Attributes:
        name: in file names.
        title: in tables.
        judge: a name of `recipes.ablation.judges`.
        tournament: its name and options, for judges that compare.
        rating: its name and options, for judges that compare.
        budgeted: whether it keeps to `BUDGET`.
        scale_rewards: of TRL: ``group`` divides a group's rewards by their standard deviation, ``none`` does not.
    """

    name: str
    title: str
    judge: str
    tournament: dict[str, Any] | None = None
    rating: dict[str, Any] | None = None
    budgeted: bool = True
    scale_rewards: str = "group"

    @property
    def compares(self) -> bool:
        """Whether the judge compares responses, or scores each by itself."""
        return self.tournament is not None


_PAIRS = {"name": "round_robin"}
_KNOCKOUT = {"name": "knockout", "options": {"consolation": True}}
_ELO = {"name": "elo", "options": {"mode": "online"}}
_BRADLEY_TERRY = {"name": "bradley_terry"}

ROWS = {
    row.name: row
    for row in (
        Row("elo_all", "RRM, all pairs, Elo (the paper's reward)", "rrm", _PAIRS, _ELO, budgeted=False),
        Row("elo", "RRM, balanced pairs, Elo", "rrm", _PAIRS, _ELO),
        Row("win_rate", "RRM, balanced pairs, win rate", "rrm", _PAIRS, {"name": "win_rate"}),
        Row("bradley_terry", "RRM, balanced pairs, Bradley-Terry", "rrm", _PAIRS, _BRADLEY_TERRY),
        Row("knockout", "RRM, knockout with consolation, placement", "rrm", _KNOCKOUT, {"name": "placement"}),
        Row("circular", "RRM, ring (circular), Bradley-Terry", "rrm", {"name": "circular"}, _BRADLEY_TERRY),
        Row("scalar", "scalar reward model", "scalar"),
        Row(
            "oracle_judge", "oracle as judge of pairs, Bradley-Terry", "oracle_judge", _PAIRS, _BRADLEY_TERRY
        ),
        Row("oracle", "oracle as score (1 if right, else 0)", "oracle"),
        Row("base", "the base as untrained judge, Bradley-Terry", "base", _PAIRS, _BRADLEY_TERRY),
        Row("narrow_rrm", "RRM trained on narrow pairs, Bradley-Terry", "narrow_rrm", _PAIRS, _BRADLEY_TERRY),
        Row("narrow_scalar", "scalar trained on narrow pairs", "narrow_scalar"),
        Row(
            "narrow_scalar_raw",
            "the same scalar, rewards not divided by the spread",
            "narrow_scalar",
            scale_rewards="none",
        ),
    )
}
"""Every row by name."""

CONTRASTS = (
    ("elo_all", "elo", "Elo of all pairs against Elo of the budget"),
    ("elo", "win_rate", "Elo against win rate, of the same pairs"),
    ("oracle", "oracle_judge", "the oracle as a score against the oracle as a judge"),
    ("narrow_scalar_raw", "narrow_scalar", "the narrow scalar, rewards not divided against divided"),
)
"""Pairs of rows that are compared beside the comparisons with the reference: what the first has over the second."""
