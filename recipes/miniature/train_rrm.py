"""The RRM: the base trained by GRPO on verdicts alone, +1 for the right one and -1 for any other.

This is the paper's "reward reasoning via reinforcement learning" in miniature. No analysis is shown or rewarded;
the model has to find out by itself that its verdict pays when it follows from its marks, in either position.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from recipes.miniature.learning import group_advantages, make_optimizer, reinforce, set_learning_rate
from recipes.miniature.sampling import Sample, ask, sample
from recipes.miniature.task import (
    LONGEST_WRONG_ANSWER,
    JudgedPair,
    all_queries,
    make_pair,
    right_answer,
    wrong_answer,
)
from rrm_reward.judge import build_messages, make_view, parse_verdict, special_tokens_of

LONGEST_JUDGMENT = 32
"""Tokens: 3 digits, two rows of up to 8 marks, the think block, the verdict and the end."""


@dataclass(frozen=True, slots=True)
class RRMRecipe:
    """How the RRM is made.

    Attributes:
        steps: GRPO steps.
        pairs_per_step: judged pairs in a step.
        samples_per_pair: size of GRPO's groups.
        learning_rate: peak, after a warm-up of 10 steps; falls in a line to a tenth over the last half of the run.
        own_mistakes: share of the pairs whose wrong response is the base policy's own.
        longest_wrong: characters of a wrong response at most. The ablation's narrow judge meets none longer than
            a right answer, and so learns nothing of them.
    """

    steps: int = 160
    pairs_per_step: int = 24
    samples_per_pair: int = 8
    learning_rate: float = 3e-4
    own_mistakes: float = 0.5
    longest_wrong: int = 2 * LONGEST_WRONG_ANSWER


def verdict_reward(completion: str, better: int) -> float:
    """The paper's rule: +1 for the right verdict, -1 for the other one or none."""
    return 1.0 if parse_verdict(completion).choice == better else -1.0


def policy_mistakes(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, queries: Sequence[str], temperature: float
) -> list[tuple[str, str]]:
    """(query, response) of every wrong response that the policy samples, one try a query."""
    samples = sample(
        policy,
        tokenizer,
        [ask(query) for query in queries],
        max_new_tokens=LONGEST_WRONG_ANSWER,
        temperature=temperature,
    )
    tried = zip(queries, (drawn.text for drawn in samples), strict=True)
    return [(query, response) for query, response in tried if response != right_answer(query)]


def varied_mistakes(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, queries: Sequence[str], longest: int
) -> list[tuple[str, str]]:
    """Mistakes of the policy and of hotter ones, for what GRPO explores is not only what the base says today.

    None is longer than `longest` characters: a hot policy now and then says a token that stands for the whole
    prompt, 1,500 characters to judge.
    """
    mistakes = [
        mistake
        for temperature in (1.0, 1.5, 2.5)
        for mistake in policy_mistakes(policy, tokenizer, queries, temperature)
    ]
    return [(query, wrong) for query, wrong in mistakes if len(wrong) <= longest]


def draw_pair(
    queries: Sequence[str], mistakes: Sequence[tuple[str, str]], recipe: RRMRecipe, rng: random.Random
) -> JudgedPair:
    """A training pair: a right answer against a mistake of the policy, or one that is made up."""
    if rng.random() < recipe.own_mistakes:
        query, wrong = rng.choice(mistakes)
    else:
        query = rng.choice(queries)
        wrong = wrong_answer(query, rng)
        while len(wrong) > recipe.longest_wrong:
            wrong = wrong_answer(query, rng)
    return make_pair(query, wrong, rng)


def judge_pairs(
    judge: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[JudgedPair],
    temperature: float,
) -> list[Sample]:
    """One sampled judgment a pair, through the library's own view of responses and prompt."""
    view = make_view(special_tokens=special_tokens_of(tokenizer))
    prompts = [build_messages(pair.query, view(pair.first), view(pair.second)) for pair in pairs]
    return sample(judge, tokenizer, prompts, max_new_tokens=LONGEST_JUDGMENT, temperature=temperature)


def train_rrm(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    recipe: RRMRecipe,
    seed: int,
    report: Callable[[int, float], None],
) -> None:
    """Train the base in place into an RRM, on queries of the training side only.

    Args:
        model: the base.
        tokenizer: the miniature's.
        recipe: numbers.
        seed: of pairs and samples; sets torch's global generator.
        report: called every 20 steps with the step and the share of right verdicts since the last call.
    """
    rng = random.Random(seed)
    torch.manual_seed(seed)
    queries = all_queries(held_out=False)
    mistakes = varied_mistakes(model, tokenizer, queries, recipe.longest_wrong)
    optimizer = make_optimizer(model, recipe.learning_rate)
    right = drawn = 0
    for step in range(1, recipe.steps + 1):
        descent = min(1.0, 0.1 + 1.8 * (1 - step / recipe.steps))
        set_learning_rate(optimizer, recipe.learning_rate * min(descent, step / 10))
        pairs = [draw_pair(queries, mistakes, recipe, rng) for _ in range(recipe.pairs_per_step)]
        repeated = [pair for pair in pairs for _ in range(recipe.samples_per_pair)]
        samples = judge_pairs(model, tokenizer, repeated, temperature=1.0)
        rewards = [
            verdict_reward(drawn.text, pair.better) for drawn, pair in zip(samples, repeated, strict=True)
        ]
        reinforce(model, optimizer, samples, group_advantages(rewards, recipe.samples_per_pair))
        right += sum(reward > 0 for reward in rewards)
        drawn += len(rewards)
        if step % 20 == 0:
            report(step, right / drawn)
            right = drawn = 0
