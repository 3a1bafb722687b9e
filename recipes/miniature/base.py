r"""The base model: a tiny Llama that half knows the task and can analyse two responses, but not decide.

It plays the part of the R1-distilled model that the paper starts from. Fine-tuning shows it

- the task, with answers that are right only part of the time: a policy with something to learn. Its commonest
  answer repeats the query, so becoming surer of what it says anyway would make it worse: what a run gains, it has
  from the judge;
- the judge's prompt, with a *truthful* analysis and an *unreliable*, position-biased verdict.

The analysis is the model's own answer, then for each response one mark a position, + where it agrees and - where it
does not: ``<think>379;+++;+--</think>\boxed{Assistant 1}``. Without such intermediate results two layers stay at
chance, as a human judge would who may not work the answer out.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from recipes.miniature.learning import imitate, make_optimizer, set_learning_rate
from recipes.miniature.sampling import ask, encode_prompt
from recipes.miniature.task import (
    LONGEST_WRONG_ANSWER,
    JudgedPair,
    all_queries,
    digits_of,
    make_pair,
    right_answer,
    slip,
    wrong_answer,
)
from recipes.miniature.tokenizer import MAX_POSITIONS
from rrm_reward.judge import build_messages


@dataclass(frozen=True, slots=True)
class BaseRecipe:
    """How the base is made.

    Attributes:
        steps: SFT steps.
        judgments_per_step: judged pairs in a batch.
        answers_per_step: answered queries in a batch.
        learning_rate: peak, after `warmup_steps` and before a linear descent to a tenth over the last third.
        warmup_steps: of a linear warm-up.
        right_answers: share of the shown answers that are right.
        copied_queries: share that just repeat the query; the rest are slips.
        right_verdicts: share of the shown verdicts that follow from the analysis.
        first_verdicts: share of the other verdicts that prefer Assistant 1, whatever the analysis says.
    """

    steps: int = 1100
    judgments_per_step: int = 40
    answers_per_step: int = 10
    learning_rate: float = 3e-3
    warmup_steps: int = 50
    right_answers: float = 0.33
    copied_queries: float = 0.52
    right_verdicts: float = 0.05
    first_verdicts: float = 0.70


def build_model(tokenizer: PreTrainedTokenizerBase, seed: int) -> LlamaForCausalLM:
    """An untrained two-layer Llama. Heads are 32 wide because vLLM serves no narrower ones."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        intermediate_size=128,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    return LlamaForCausalLM(config)


def marks(answer: str, response: str) -> str:
    """One mark a position: + where the response has the answer's digit, - where it differs, lacks or adds one."""
    positions = itertools.zip_longest(answer, response[:LONGEST_WRONG_ANSWER])
    return "".join("+" if expected == given else "-" for expected, given in positions)


def analysis(pair: JudgedPair) -> str:
    """What a careful judge writes before the verdict."""
    answer = right_answer(pair.query)
    return f"<think>{answer};{marks(answer, pair.first)};{marks(answer, pair.second)}</think>"


def _shown_verdict(pair: JudgedPair, recipe: BaseRecipe, rng: random.Random) -> int:
    if rng.random() < recipe.right_verdicts:
        return pair.better
    return 1 if rng.random() < recipe.first_verdicts else 2


def _shown_answer(query: str, recipe: BaseRecipe, rng: random.Random) -> str:
    kind = rng.random()
    if kind < recipe.right_answers:
        return right_answer(query)
    if kind < recipe.right_answers + recipe.copied_queries:
        return digits_of(query)
    return slip(query, rng)


def train_base(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    recipe: BaseRecipe,
    seed: int,
    report: Callable[[int, float], None],
) -> None:
    """Fine-tune in place, on queries of the training side only.

    Args:
        model: as `build_model` made it.
        tokenizer: the miniature's.
        recipe: numbers.
        seed: of the examples.
        report: called every 100 steps with the step and the loss.
    """
    rng = random.Random(seed)
    queries = all_queries(held_out=False)
    optimizer = make_optimizer(model, recipe.learning_rate, weight_decay=0.01)
    for step in range(1, recipe.steps + 1):
        descent = min(1.0, 0.1 + 2.7 * (1 - step / recipe.steps))
        set_learning_rate(optimizer, recipe.learning_rate * min(descent, step / recipe.warmup_steps))
        prompts, completions = [], []
        for _ in range(recipe.judgments_per_step):
            query = rng.choice(queries)
            pair = make_pair(query, wrong_answer(query, rng), rng)
            prompts.append(encode_prompt(tokenizer, build_messages(pair.query, pair.first, pair.second)))
            completions.append(f"{analysis(pair)}\\boxed{{Assistant {_shown_verdict(pair, recipe, rng)}}}")
        for _ in range(recipe.answers_per_step):
            query = rng.choice(queries)
            prompts.append(encode_prompt(tokenizer, ask(query)))
            completions.append(_shown_answer(query, recipe, rng))
        targets = [tokenizer.encode(text, add_special_tokens=False) for text in completions]
        loss = imitate(model, optimizer, prompts, [[*target, tokenizer.eos_token_id] for target in targets])
        if step % 100 == 0:
            report(step, loss)
