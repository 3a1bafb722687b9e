"""Counters of an arena, as plain numbers that every trainer's logger takes."""

from __future__ import annotations

from collections import Counter

import numpy as np

from rrm_reward.judge import Judgment
from rrm_reward.types import GroupResult, NoVerdict


class ArenaMetrics:
    """Running totals since the arena was made; `snapshot` turns them into rates.

    All counts only grow, so that a monitoring system can take differences.
    """

    def __init__(self) -> None:
        self._totals: Counter[str] = Counter()
        self._seconds_judging = 0.0
        self._seconds_groups = 0.0
        self._spread = 0.0

    def judged(self, judgment: Judgment, seconds: float, *, late: bool) -> None:
        """One comparison came back; `late` if its group was closed already."""
        totals = self._totals
        totals["comparisons"] += 1
        totals["calls"] += judgment.calls
        totals["late"] += late
        totals["missing"] += judgment.p is None
        self._seconds_judging += seconds
        for vote in judgment.votes:
            if not vote.stored:  # paid for by an earlier run
                totals["prompt_tokens"] += vote.prompt_tokens
                totals["completion_tokens"] += vote.completion_tokens
            if vote.verdict.reason is not None:
                totals[f"no_verdict_{vote.verdict.reason.value}"] += 1
            else:
                totals["verdicts"] += 1
                totals["verdicts_for_first"] += vote.verdict.choice == 1

    def scored(self, known: bool, prompt_tokens: int, seconds: float, *, late: bool) -> None:
        """One response was scored, by a judge that does not compare; `late` if its group was closed already."""
        totals = self._totals
        totals["calls"] += 1
        totals["late"] += late
        totals["missing"] += not known
        totals["prompt_tokens"] += prompt_tokens
        self._seconds_judging += seconds

    def closed(self, result: GroupResult) -> None:
        """One group got its result."""
        totals = self._totals
        totals["groups"] += 1
        totals["members"] += len(result.rewards)
        totals["unknown_rewards"] += int(np.isnan(result.rewards).sum())
        for name in ("duplicates", "failed", "expired", "unneeded"):
            totals[name] += result.notes.get(name, 0)
        self._seconds_groups += result.seconds
        known = result.rewards[~np.isnan(result.rewards)]
        self._spread += float(known.std()) if len(known) else 0.0

    def snapshot(self) -> dict[str, float]:
        """Totals by name, and these rates (0.0 before there is anything to divide).

        ``missing_share`` of the comparisons · ``first_share``: verdicts for Assistant 1 (0.5 for an unbiased judge in
        balanced orders) · ``seconds_per_comparison``, ``seconds_per_group`` · ``reward_spread``: mean standard
        deviation of rewards in a group, which says how decided groups are.
        """
        names = (
            *("groups", "members", "comparisons", "calls", "missing", "late", "verdicts", "unknown_rewards"),
            *("duplicates", "failed", "expired", "unneeded", "prompt_tokens", "completion_tokens"),
            *(f"no_verdict_{reason.value}" for reason in NoVerdict),
        )
        totals = self._totals
        comparisons, groups = max(totals["comparisons"], 1), max(totals["groups"], 1)
        return {
            **{name: float(totals[name]) for name in names},
            "missing_share": totals["missing"] / comparisons,
            "first_share": totals["verdicts_for_first"] / max(totals["verdicts"], 1),
            "seconds_per_comparison": self._seconds_judging / comparisons,
            "seconds_per_group": self._seconds_groups / groups,
            "reward_spread": self._spread / groups,
        }
