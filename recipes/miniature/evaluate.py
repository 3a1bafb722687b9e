r"""Measure a policy and a judge of the miniature on held-out queries, where the rule knows the right answer.

    python -m recipes.miniature.evaluate --policy recipes/miniature/checkpoints/base \
        --judge recipes/miniature/checkpoints/rrm

Judge by the sampled figures. Greedy ones say little about a policy before training: over seeds they lie anywhere
between .4 and .99 while the sampled ones agree.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from recipes.miniature.sampling import Sample, ask, sample
from recipes.miniature.task import (
    LONGEST_WRONG_ANSWER,
    JudgedPair,
    all_queries,
    make_pair,
    right_answer,
    wrong_answer,
)
from recipes.miniature.train_rrm import judge_pairs, policy_mistakes
from rrm_reward.judge import parse_verdict


@dataclass(frozen=True, slots=True)
class Share:
    """A share of n trials, with the standard error of sampling."""

    mean: float
    stderr: float
    n: int


@dataclass(frozen=True, slots=True)
class PolicyScore:
    """How a policy does on every held-out query.

    Attributes:
        sampled: right answers at temperature 1, several samples a query.
        greedy: right answers without sampling, one a query.
        length: mean tokens of a sampled answer; 3 is right.
    """

    sampled: Share
    greedy: Share
    length: float


@dataclass(frozen=True, slots=True)
class JudgeScore:
    """How a judge does on pairs of a right and a wrong response to held-out queries, each pair in both orders.

    Attributes:
        accuracy: right verdicts among all judgments; one without a verdict is not right.
        first: judgments that prefer Assistant 1; .5 is fair.
        consistent: pairs for which both orders name the same response.
        no_verdict: judgments without a verdict.
        temperature: of the sampling.
    """

    accuracy: Share
    first: Share
    consistent: Share
    no_verdict: Share
    temperature: float


def load(folder: str | Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model (float32) and tokenizer of a folder, by the ordinary Auto classes."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(folder)


def _share(trials: Sequence[bool]) -> Share:
    mean = sum(trials) / len(trials)
    return Share(mean, math.sqrt(mean * (1 - mean) / len(trials)), len(trials))


def score_policy(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, samples_per_query: int = 10, seed: int = 0
) -> PolicyScore:
    """As `policy_accuracy`, for a model in memory."""
    torch.manual_seed(seed)
    queries = all_queries(held_out=True)

    def answers(asked: Sequence[str], temperature: float) -> list[Sample]:
        prompts = [ask(query) for query in asked]
        limit = LONGEST_WRONG_ANSWER
        return sample(model, tokenizer, prompts, max_new_tokens=limit, temperature=temperature)

    def right(asked: Sequence[str], drawn: Sequence[Sample]) -> Share:
        return _share([one.text == right_answer(query) for query, one in zip(asked, drawn, strict=True)])

    repeated = [query for query in queries for _ in range(samples_per_query)]
    sampled, greedy = answers(repeated, 1.0), answers(queries, 0.0)
    return PolicyScore(
        right(repeated, sampled),
        right(queries, greedy),
        sum(one.length for one in sampled) / len(sampled),
    )


def score_judge(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[JudgedPair],
    *,
    temperature: float = 0.6,
    seed: int = 0,
) -> JudgeScore:
    """As `judge_accuracy`, for a model in memory and given pairs."""
    torch.manual_seed(seed)
    both_orders = [*pairs, *(pair.swapped() for pair in pairs)]
    judgments = judge_pairs(model, tokenizer, both_orders, temperature)
    choices = [parse_verdict(judgment.text).choice for judgment in judgments]
    right = [choice == pair.better for choice, pair in zip(choices, both_orders, strict=True)]
    straight, reversed_ = choices[: len(pairs)], choices[len(pairs) :]
    return JudgeScore(
        _share(right),
        _share([choice == 1 for choice in choices]),
        _share([None not in (a, b) and a != b for a, b in zip(straight, reversed_, strict=True)]),
        _share([choice is None for choice in choices]),
        temperature,
    )


def held_out_pairs(count: int, seed: int = 0) -> list[JudgedPair]:
    """Right against wrong responses of every kind, to held-out queries."""
    rng = random.Random(seed)
    queries = rng.choices(all_queries(held_out=True), k=count)
    return [make_pair(query, wrong_answer(query, rng), rng) for query in queries]


def mistake_pairs(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, count: int, seed: int = 0
) -> list[JudgedPair]:
    """Right answers against a policy's own mistakes on held-out queries: up to `count`, fewer from a good policy.

    This is the pair that matters in a run: a judge can do well on synthetic pairs and still be talked over by what
    the policy has become.
    """
    torch.manual_seed(seed)
    rng = random.Random(seed)
    queries = rng.choices(all_queries(held_out=True), k=3 * count)
    mistakes = policy_mistakes(policy, tokenizer, queries, temperature=1.0)[:count]
    return [make_pair(query, wrong, rng) for query, wrong in mistakes]


def policy_accuracy(model_dir: str | Path, *, samples_per_query: int = 10, seed: int = 0) -> PolicyScore:
    """Accuracy of a policy checkpoint on all held-out queries.

    Args:
        model_dir: a folder with model and tokenizer.
        samples_per_query: samples at temperature 1.
        seed: of the sampling; sets torch's global generator.
    """
    return score_policy(*load(model_dir), samples_per_query=samples_per_query, seed=seed)


def judge_accuracy(
    model_dir: str | Path,
    *,
    pairs: int = 400,
    temperature: float = 0.6,
    seed: int = 0,
    policy_dir: str | Path | None = None,
) -> JudgeScore:
    """Accuracy of a judge checkpoint on held-out pairs, through the library's own prompt and verdict.

    Args:
        model_dir: a folder with model and tokenizer.
        pairs: how many; each is judged once in each order.
        temperature: of the sampling; .6 is the judge's default.
        seed: of pairs and sampling; sets torch's global generator.
        policy_dir: take the wrong responses from this policy instead of making them up.
    """
    judged = held_out_pairs(pairs, seed)
    if policy_dir is not None:
        judged = mistake_pairs(*load(policy_dir), pairs, seed)
    return score_judge(*load(model_dir), judged, temperature=temperature, seed=seed)


def main() -> None:
    """Print the scores as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--policy", type=Path, help="checkpoint to measure as a policy")
    parser.add_argument(
        "--judge", type=Path, help="checkpoint to measure as a judge; on the policy's mistakes too"
    )
    parser.add_argument("--temperature", type=float, default=0.6, help="of the judge")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    scores: dict[str, object] = {}
    if arguments.policy:
        scores["policy"] = asdict(policy_accuracy(arguments.policy, seed=arguments.seed))
    if arguments.judge:
        how = {"temperature": arguments.temperature, "seed": arguments.seed}
        scores["judge"] = asdict(judge_accuracy(arguments.judge, **how))
        if arguments.policy:
            on_mistakes = judge_accuracy(arguments.judge, policy_dir=arguments.policy, **how)
            scores["judge_on_policy_mistakes"] = asdict(on_mistakes)
    print(json.dumps(scores, indent=2))


if __name__ == "__main__":
    main()
