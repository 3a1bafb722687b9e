"""A row as TRL's reward function, and as a judge that can be asked which of two responses it prefers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from recipes.ablation.judges import folder_of, load_scalar, prefers_right, score
from recipes.ablation.rows import BUDGET, Row
from recipes.miniature.evaluate import load
from recipes.miniature.task import JudgedPair, right_answer
from recipes.miniature.train_rrm import LONGEST_JUDGMENT, judge_pairs
from rrm_reward.integrations.trl import RRMReward
from rrm_reward.judge import parse_verdict

Prefers = Callable[[Sequence[JudgedPair]], list[bool]]
"""Whether the judge prefers the right response, for each pair."""

TEMPERATURE = 0.6


class ScoredReward:
    """A reward function that scores each response by itself; a call a response.

    Args:
        score: queries and responses to scores.
    """

    __name__ = "rrm"

    def __init__(self, score: Callable[[Sequence[str], Sequence[str]], list[float]]) -> None:
        self._score = score

    def __call__(self, prompts: Any, completions: Any, log_metric: Any, **columns: Any) -> list[float]:
        queries = [prompt[-1]["content"] for prompt in prompts]
        scores = self._score(queries, [completion[-1]["content"] for completion in completions])
        log_metric("rrm/judge_calls", log_metric.__self__.num_generations)
        return scores


def make_reward(row: Row, group_size: int, seed: int, judges: Path) -> AbstractContextManager[Any]:
    """What TRL is given; to be entered."""
    if row.judge == "oracle":
        return nullcontext(
            ScoredReward(
                lambda queries, said: [
                    float(text == right_answer(query)) for query, text in zip(queries, said, strict=True)
                ]
            )
        )
    if not row.compares:
        model, tokenizer = load_scalar(folder_of(row.judge, judges))

        def scores(queries: Sequence[str], said: Sequence[str]) -> list[float]:
            with torch.inference_mode():
                return score(model, tokenizer, queries, said).tolist()

        return nullcontext(ScoredReward(scores))
    return RRMReward(
        {
            "seed": seed,
            "judge": {
                "backend": "transformers",
                "model": str(folder_of(row.judge, judges)),
                "device": "cpu",
                "temperature": TEMPERATURE,
                "max_tokens": LONGEST_JUDGMENT,
                "max_batch": 512,
            },
            "tournament": {**(row.tournament or {}), "budget": BUDGET[group_size] if row.budgeted else None},
            "rating": row.rating,
            "arena": {"concurrency": 512},
        }
    )


def make_preference(row: Row, judges: Path) -> Prefers:
    """The row's judge, asked about pairs as `rrm_reward` would ask it; those that compare see both orders."""
    if row.judge == "oracle":
        return lambda pairs: [True] * len(pairs)
    if not row.compares:
        model, tokenizer = load_scalar(folder_of(row.judge, judges))
        return lambda pairs: prefers_right(model, tokenizer, pairs)
    judge, tokenizer = load(folder_of(row.judge, judges))

    def prefers(pairs: Sequence[JudgedPair]) -> list[bool]:
        asked = [*pairs, *(pair.swapped() for pair in pairs)]
        votes = judge_pairs(judge, tokenizer, asked, TEMPERATURE)
        return [
            parse_verdict(vote.text).choice == pair.better for vote, pair in zip(votes, asked, strict=True)
        ]

    return prefers
