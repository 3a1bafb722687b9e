"""Accuracy of a judge over votes and over thinking tokens, through the library's own `Judge`.

Every pair holds a right and a wrong answer to a held-out query and is judged in both orders. Standard errors are those
of the mean over pairs, so votes and orders of one pair, which are not independent, do not make them smaller.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rrm_reward.config import JudgeConfig
from rrm_reward.judge import Judge, Judgment
from rrm_reward.types import Query, Vote

Labelled = tuple[Query, str, str]
"""A query, its right response, and its wrong one."""


LONGEST = 64
"""Tokens of a judgment without a cap: twice what any of the miniature's takes, so no cap is no cap."""


def in_process(model: Path) -> JudgeConfig:
    """A judge of the miniature."""
    return JudgeConfig(
        backend="transformers", model=str(model), device="cpu", max_tokens=LONGEST, max_batch=512
    )


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a curve.

    Attributes:
        x: votes (calls) of a comparison, or the cap in tokens; None is no cap.
        accuracy: share of comparisons that name the right answer; a tie or no verdict is half of one.
        stderr: over pairs.
        tokens: mean completion tokens of a vote.
        no_verdict: share of votes that neither hold a verdict nor could be forced to one.
        forced: share of votes whose verdict was forced.
        by_pair: the accuracy on each pair, in their order, of which `accuracy` is the mean; `paired` takes those of two
            points.
    """

    x: int | None
    accuracy: float
    stderr: float
    tokens: float
    no_verdict: float
    forced: float
    by_pair: list[float]


PairVotes = tuple[list[Vote], list[Vote]]
"""All votes of a pair: those with the right answer as Assistant 1, and those with it as Assistant 2."""


async def _draw(
    config: JudgeConfig, pairs: Sequence[Labelled], votes: int, cap: int | None, seed: int, width: int | None
) -> list[PairVotes]:
    force = "none" if cap is None else "truncated"
    judge = Judge.from_config(
        replace(
            config, order="both", votes=votes, reasks=0, early_stop="none", force=force, thinking_tokens=cap
        )
    )
    places = asyncio.Semaphore(width or len(pairs))

    async def compare(number: int, query: Query, right: str, wrong: str) -> Judgment:
        async with places:
            return await judge.compare(query, judge.view(right), judge.view(wrong), seed=seed + number)

    await judge.start()
    try:
        judgments = await asyncio.gather(*(compare(number, *pair) for number, pair in enumerate(pairs)))
    finally:
        await judge.aclose()
    return [
        ([v for v in judgment.votes if v.i_first], [v for v in judgment.votes if not v.i_first])
        for judgment in judgments
    ]


def draw(
    config: JudgeConfig,
    pairs: Sequence[Labelled],
    votes: int,
    cap: int | None = None,
    seed: int = 0,
    width: int | None = None,
) -> list[PairVotes]:
    """Votes on every pair in both orders.

    Args:
        config: of the judge; orders, votes, forcing and cap are set here.
        pairs: any.
        votes: of each pair in each order.
        cap: thinking tokens after which the verdict is forced; None for none.
        seed: of the comparisons.
        width: pairs in work at once; None for all, so that one batch holds them.
    """
    return asyncio.run(_draw(config, pairs, votes, cap, seed, width))


def share_right(vote: Vote) -> float:
    """Of one vote: 1 if it names the right answer, 0 if the other, its probability if it was forced, else half."""
    share = vote.share_for_i
    return 0.5 if share is None else share


def majority(shares: Sequence[float]) -> float:
    """1 if more than half of the votes are right, 0 if less, else half."""
    mean = statistics.fmean(shares)
    return 0.5 if abs(mean - 0.5) < 1e-12 else float(mean > 0.5)


def _point(x: int | None, accuracies: Sequence[float], drawn: Sequence[PairVotes]) -> Point:
    votes = [vote for orders in drawn for order in orders for vote in order]
    silent = [vote for vote in votes if vote.share_for_i is None]
    return Point(
        x,
        statistics.fmean(accuracies),
        statistics.stdev(accuracies) / len(accuracies) ** 0.5,
        statistics.fmean(vote.completion_tokens for vote in votes),
        len(silent) / len(votes),
        sum(vote.soft is not None for vote in votes) / len(votes),
        [round(accuracy, 4) for accuracy in accuracies],
    )


def paired(one: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """Mean of one less the other over pairs that both were measured on, and its standard error.

    Args:
        one: accuracies by pair.
        other: of the same pairs, in the same order.

    Raises:
        ValueError: they are not of as many pairs.
    """
    differences = [a - b for a, b in zip(one, other, strict=True)]
    return statistics.fmean(differences), statistics.stdev(differences) / len(differences) ** 0.5


def _electorates(votes: Sequence[Vote], k: int) -> list[list[float]]:
    """Disjoint groups of k votes, as `share_right` reads them."""
    shares = [share_right(vote) for vote in votes]
    return [shares[start : start + k] for start in range(0, len(shares) - k + 1, k)]


def over_votes(drawn: Sequence[PairVotes], ks: Sequence[int]) -> list[Point]:
    """Majority of k votes, all in the same order; each order is a comparison of its own."""
    return [
        _point(
            k,
            [
                statistics.fmean(majority(group) for order in orders for group in _electorates(order, k))
                for orders in drawn
            ],
            drawn,
        )
        for k in ks
    ]


def over_votes_in_both_orders(drawn: Sequence[PairVotes], ks: Sequence[int]) -> list[Point]:
    """Majority of 2k votes, k in each order: the position's own share cancels. x is 2k, the calls."""
    return [
        _point(
            2 * k,
            [
                statistics.fmean(
                    majority(first + second)
                    for first, second in zip(*(_electorates(order, k) for order in orders), strict=True)
                )
                for orders in drawn
            ],
            drawn,
        )
        for k in ks
    ]


def over_caps(
    config: JudgeConfig,
    pairs: Sequence[Labelled],
    caps: Sequence[int | None],
    votes: int,
    seed: int = 0,
    width: int | None = None,
) -> list[Point]:
    """Mean accuracy of single votes at each cap."""
    points = []
    for cap in caps:
        drawn = draw(config, pairs, votes, cap, seed, width)
        accuracies = [
            statistics.fmean(share_right(vote) for order in orders for vote in order) for orders in drawn
        ]
        points.append(_point(cap, accuracies, drawn))
    return points
