"""GRPO of the policy with the judge's verdicts as its only reward: `make demo` in 100 lines, without a trainer.

    python -m recipes.miniature.train_policy --judge recipes/miniature/checkpoints/rrm --seed 0

Every step samples 8 answers to each of 8 training queries, has the judge compare all pairs of different answers to a
query, rates the answers by Bradley-Terry and takes one GRPO step. Right answers are looked at only to print how it
goes. The real thing is `demo.py`, which runs verl; this is for trying judges and settings in half a minute.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from recipes.miniature.evaluate import PolicyScore, load, mistake_pairs, score_judge, score_policy
from recipes.miniature.learning import group_advantages, make_optimizer, reinforce, set_learning_rate
from recipes.miniature.sampling import ask, sample
from recipes.miniature.task import LONGEST_WRONG_ANSWER, JudgedPair, all_queries, right_answer
from recipes.miniature.train_rrm import judge_pairs
from rrm_reward.judge import parse_verdict
from rrm_reward.rating import make_rating
from rrm_reward.types import Outcome

CHECKPOINTS = Path(__file__).parent / "checkpoints"


@dataclass(frozen=True, slots=True)
class PolicyRecipe:
    """Numbers of the run: those of `make demo`.

    Attributes:
        steps: GRPO steps.
        queries_per_step: groups in a step.
        responses_per_query: size of a group.
        learning_rate: after a linear warm-up of `warmup_steps`.
        warmup_steps: of the learning rate.
        judge_temperature: .6 is the judge's default.
    """

    steps: int = 50
    queries_per_step: int = 8
    responses_per_query: int = 8
    learning_rate: float = 5e-4
    warmup_steps: int = 10
    judge_temperature: float = 0.6


def judged_rewards(
    judge: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    queries: Sequence[str],
    groups: Sequence[Sequence[str]],
    temperature: float,
    rng: random.Random,
) -> list[float]:
    """Bradley-Terry ratings of all responses, group after group, from one vote on every pair in a random order.

    Identical responses share a rating and are not compared; a vote without a verdict is a missing outcome.
    """
    rate = make_rating("bradley_terry")
    distinct = [list(dict.fromkeys(group)) for group in groups]
    matches = [
        (number, *(pair if rng.random() < 0.5 else pair[::-1]))
        for number, responses in enumerate(distinct)
        for pair in itertools.combinations(range(len(responses)), 2)
    ]
    pairs = [JudgedPair(queries[g], distinct[g][i], distinct[g][j], better=1) for g, i, j in matches]
    votes = [parse_verdict(drawn.text).choice for drawn in judge_pairs(judge, tokenizer, pairs, temperature)]
    outcomes: list[list[Outcome]] = [[] for _ in groups]
    for (g, i, j), vote in zip(matches, votes, strict=True):
        outcomes[g].append(Outcome(i, j, None if vote is None else float(vote == 1)))
    rewards: list[float] = []
    for group, responses, played in zip(groups, distinct, outcomes, strict=True):
        ratings = rate(len(responses), played).value
        known = ratings[ratings == ratings]
        neutral = float(known.mean()) if known.size else 0.0
        rating_of = {
            response: float(rating) if rating == rating else neutral
            for response, rating in zip(responses, ratings, strict=True)
        }
        rewards += [rating_of[response] for response in group]
    return rewards


def train_policy(
    policy: PreTrainedModel,
    judge: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    recipe: PolicyRecipe,
    seed: int,
) -> None:
    """Train the policy in place, printing its share of right answers and its length every 10 steps."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    known = all_queries(held_out=False)
    optimizer = make_optimizer(policy, recipe.learning_rate)
    right: list[bool] = []
    lengths: list[int] = []
    for step in range(1, recipe.steps + 1):
        set_learning_rate(optimizer, recipe.learning_rate * min(1.0, step / recipe.warmup_steps))
        queries = rng.sample(known, k=recipe.queries_per_step)
        repeated = [query for query in queries for _ in range(recipe.responses_per_query)]
        samples = sample(
            policy, tokenizer, [ask(query) for query in repeated], max_new_tokens=LONGEST_WRONG_ANSWER
        )
        texts = [drawn.text for drawn in samples]
        size = recipe.responses_per_query
        groups = [texts[start : start + size] for start in range(0, len(texts), size)]
        rewards = judged_rewards(judge, tokenizer, queries, groups, recipe.judge_temperature, rng)
        reinforce(policy, optimizer, samples, group_advantages(rewards, size))
        right += [drawn.text == right_answer(query) for drawn, query in zip(samples, repeated, strict=True)]
        lengths += [drawn.length for drawn in samples]
        if step % 10 == 0:
            share, length = sum(right) / len(right), sum(lengths) / len(lengths)
            print(f"step {step:3d}: {share:.3f} of the samples right, {length:.2f} tokens long", flush=True)
            right, lengths = [], []


def main() -> None:
    """Train, and print the scores before and after as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--policy", type=Path, default=CHECKPOINTS / "base")
    parser.add_argument("--judge", type=Path, default=CHECKPOINTS / "rrm")
    parser.add_argument("--steps", type=int, default=PolicyRecipe().steps)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    policy, tokenizer = load(arguments.policy)
    judge, _ = load(arguments.judge)

    def score() -> PolicyScore:
        return score_policy(policy, tokenizer, seed=arguments.seed)

    before = score()
    train_policy(policy, judge, tokenizer, PolicyRecipe(steps=arguments.steps), arguments.seed)
    scores = {"before": asdict(before), "after": asdict(score())}
    # What a run lives by: can the judge still tell the right answer from what the policy says *now*?
    mistakes = mistake_pairs(policy, tokenizer, 200, arguments.seed)
    if mistakes:
        scores["judge_on_final_mistakes"] = asdict(
            score_judge(judge, tokenizer, mistakes, seed=arguments.seed)
        )
    print(json.dumps({**scores, "seconds": round(time.perf_counter() - started, 1)}, indent=2))


if __name__ == "__main__":
    main()
