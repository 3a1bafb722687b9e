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
    """

    name: str
    title: str
    judge: str
    tournament: dict[str, Any] | None = None
    rating: dict[str, Any] | None = None
    budgeted: bool = True

    @property
    def compares(self) -> bool:
        """Whether the judge compares responses, or scores each by itself."""
        return self.tournament is not None


_ALL_PAIRS = {"name": "round_robin"}
_BRADLEY_TERRY = {"name": "bradley_terry"}

ROWS = {
    row.name: row
    for row in (
        Row(
            "elo",
            "RRM, round robin, Elo (online, K = 32)",
            "rrm",
            _ALL_PAIRS,
            {"name": "elo", "options": {"mode": "online"}},
        ),
        Row("win_rate", "RRM, round robin, win rate", "rrm", _ALL_PAIRS, {"name": "win_rate"}),
        Row("bradley_terry", "RRM, round robin, Bradley-Terry", "rrm", _ALL_PAIRS, _BRADLEY_TERRY),
        Row(
            "knockout",
            "RRM, knockout with consolation, placement",
            "rrm",
            {"name": "knockout", "options": {"consolation": True}},
            {"name": "placement"},
        ),
        Row(
            "circular",
            "RRM, ring (circular, k = 4), Bradley-Terry",
            "rrm",
            {"name": "circular"},
            _BRADLEY_TERRY,
        ),
        Row("all_pairs", "RRM, all pairs, Bradley-Terry", "rrm", _ALL_PAIRS, _BRADLEY_TERRY, budgeted=False),
        Row("scalar", "scalar reward model", "scalar"),
        Row("base", "the base as untrained judge, Bradley-Terry", "base", _ALL_PAIRS, _BRADLEY_TERRY),
        Row("oracle_judge", "oracle as judge, Bradley-Terry", "oracle_judge", _ALL_PAIRS, _BRADLEY_TERRY),
        Row("oracle", "oracle (1 if right, else 0)", "oracle"),
        Row(
            "narrow_rrm",
            "RRM trained on narrow pairs, Bradley-Terry",
            "narrow_rrm",
            _ALL_PAIRS,
            _BRADLEY_TERRY,
        ),
        Row("narrow_scalar", "scalar trained on narrow pairs", "narrow_scalar"),
    )
}
"""Every row by name."""
