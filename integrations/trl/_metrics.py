"""What a group came to, in a form that crosses processes, and what of it the trainer logs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

from rrm_reward.health import GAUGES
from rrm_reward.types import GroupResult


@dataclass(frozen=True, slots=True)
class GroupReward:
    """One judged group.

    Attributes:
        rewards: one a row, None where nothing is known.
        calls: asked of the judge.
        comparisons, missing: matches played, and those without an outcome.
        tokens: written by the judge.
        verdicts, for_first: votes with a verdict, and those that preferred Assistant 1.
    """

    rewards: tuple[float | None, ...]
    calls: int = 0
    comparisons: int = 0
    missing: int = 0
    tokens: int = 0
    verdicts: int = 0
    for_first: int = 0


def read_result(result: GroupResult | None, size: int) -> GroupReward:
    """The group's part in rewards and metrics; a group that could not be judged knows nothing."""
    if result is None:
        return GroupReward((None,) * size)
    choices = [vote.verdict.choice for outcome in result.outcomes for vote in outcome.votes]
    return GroupReward(
        rewards=tuple(None if math.isnan(reward) else reward for reward in result.rewards.tolist()),
        calls=result.calls,
        comparisons=result.comparisons,
        missing=result.missing,
        tokens=result.completion_tokens,
        verdicts=sum(choice is not None for choice in choices),
        for_first=choices.count(1),
    )


def describe(groups: Sequence[GroupReward]) -> dict[str, float]:
    """Metrics of one call, the same names every time; NaN where there is nothing to divide.

    ``judge_calls`` and ``judge_tokens`` a group · ``missing_share`` of the comparisons · ``unknown_share`` of the
    rewards · ``first_share``: verdicts for Assistant 1, 0.5 if unbiased · ``reward_spread``: standard deviation of the
    rewards in a group, which says how decided groups are · ``undecided_share`` of groups whose rewards are all equal.
    """
    known = [[reward for reward in group.rewards if reward is not None] for group in groups]
    rewards = sum(len(group.rewards) for group in groups)
    return {
        "judge_calls": _ratio(sum(group.calls for group in groups), len(groups)),
        "judge_tokens": _ratio(sum(group.tokens for group in groups), len(groups)),
        "missing_share": _ratio(
            sum(group.missing for group in groups), sum(group.comparisons for group in groups)
        ),
        "unknown_share": _ratio(rewards - sum(map(len, known)), rewards),
        "first_share": _ratio(
            sum(group.for_first for group in groups), sum(group.verdicts for group in groups)
        ),
        "reward_spread": fmean(pstdev(some) if some else 0.0 for some in known) if known else math.nan,
        "undecided_share": _ratio(sum(len(set(some)) < 2 for some in known), len(groups)),
    }


def describe_health(processes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """``health/...``: every gauge of `rrm_reward.health.GAUGES`, the mean of the processes that know it; else NaN."""
    known = {
        name: [gauges[name] for gauges in processes if math.isfinite(gauges.get(name, math.nan))]
        for name in GAUGES
    }
    return {
        f"health/{name.removeprefix('rrm/')}": fmean(values) if values else math.nan
        for name, values in known.items()
    }


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
