"""A row as TRL's reward function: `RRMReward`, the package's own, on rollouts that have a wording each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recipes.ablation.judges import settings
from recipes.ablation.rows import BUDGET, Row
from recipes.ablation.wording import worded
from rrm_reward.integrations.trl import RRMReward


class WordedReward(RRMReward):
    """`RRMReward`, told apart what a policy says twice; logs ``rrm/distinct``, the distinct answers of a group."""

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any
    ) -> list[float | None]:
        """See `RRMReward`."""
        answers = [completion[-1]["content"] for completion in completions]
        log_metric = columns["log_metric"]
        size = log_metric.__self__.num_generations
        distinct = [len(set(answers[start : start + size])) for start in range(0, len(answers), size)]
        log_metric("rrm/distinct", sum(distinct) / len(distinct))
        told_apart = [
            [{"role": "assistant", "content": worded(answer, number)}]
            for number, answer in enumerate(answers)
        ]
        return super().__call__(prompts, told_apart, **columns)


def make_reward(row: Row, group_size: int, seed: int, judges: Path) -> WordedReward:
    """What TRL is given; to be entered."""
    tree: dict[str, Any] = {
        "seed": seed,
        "judge": settings(row.judge, seed, judges),
        "arena": {"concurrency": 512},
    }
    if row.tournament is not None:
        budget = BUDGET[group_size] if row.budgeted else None
        tree |= {"tournament": {**row.tournament, "budget": budget}, "rating": row.rating}
    return WordedReward(tree)
