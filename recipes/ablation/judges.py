"""The judges that the ablation makes for itself, each from the miniature's base and the same kind of pairs.

scalar          Bradley-Terry reward model: a score a response, the right one's above the wrong one's
narrow_scalar   the same, from pairs whose wrong responses are never longer than a right one
narrow_rrm      an RRM as the miniature's, from such pairs
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from recipes.miniature.evaluate import load, score_judge
from recipes.miniature.learning import make_optimizer, set_learning_rate
from recipes.miniature.make_checkpoints import CHECKPOINTS, save
from recipes.miniature.sampling import ask, encode_prompt, pad
from recipes.miniature.task import DIGITS_PER_QUERY, JudgedPair, all_queries
from recipes.miniature.train_rrm import RRMRecipe, draw_pair, train_rrm, varied_mistakes

NARROW = RRMRecipe(longest_wrong=DIGITS_PER_QUERY)
_STEPS, _PAIRS, _LEARNING_RATE = 400, 48, 1e-3
_SHIPPED = {"rrm": CHECKPOINTS / "rrm", "base": CHECKPOINTS / "base"}
_MADE = ("scalar", "narrow_scalar", "narrow_rrm")


def folder_of(judge: str, judges: Path) -> Path:
    """Where a judge lies; `judges` holds those that are made here."""
    return _SHIPPED.get(judge, judges / judge)


def make_judges(judges: Path, needed: Iterable[str] = _MADE) -> None:
    """Make what is needed and missing, and write ``judges.json``: accuracies on pairs of both kinds.

    Args:
        judges: folder to put them in.
        needed: names of judges; those that are shipped are passed over.
    """
    file = judges / "judges.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    for name in dict.fromkeys(needed):
        if name in _MADE and not (judges / name / "config.json").exists():
            began = time.perf_counter()
            _make(name, judges / name)
            print(f"made {name} in {time.perf_counter() - began:.0f} s", flush=True)
        if name not in known and (name in _MADE or name in _SHIPPED):
            known[name] = _measure(name, judges)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(known, indent=1) + "\n")


def score(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    queries: Sequence[str],
    responses: Sequence[str],
) -> torch.Tensor:
    """Scores of responses, shape (responses,): the model reads query, response and end."""
    end = [tokenizer.eos_token_id]
    rows = [
        encode_prompt(tokenizer, ask(query)) + tokenizer.encode(response, add_special_tokens=False) + end
        for query, response in zip(queries, responses, strict=True)
    ]
    mask = pad([[1] * len(row) for row in rows], 0, left=False)
    ids = pad(rows, model.config.pad_token_id, left=False)
    return model(input_ids=ids, attention_mask=mask).logits[:, 0]


def load_scalar(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A scalar reward model and its tokenizer."""
    _, tokenizer = load(CHECKPOINTS / "base")
    return AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, dtype=torch.float32
    ), tokenizer


def prefers_right(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[JudgedPair]
) -> list[bool]:
    """Whether a scalar model scores the right response of each pair higher."""
    with torch.inference_mode():
        first = score(model, tokenizer, [pair.query for pair in pairs], [pair.first for pair in pairs])
        second = score(model, tokenizer, [pair.query for pair in pairs], [pair.second for pair in pairs])
    return [
        better == pair.better
        for better, pair in zip((2 - (first > second).long()).tolist(), pairs, strict=True)
    ]


def _make(name: str, folder: Path) -> None:
    recipe = NARROW if name.startswith("narrow") else RRMRecipe()
    base, tokenizer = load(CHECKPOINTS / "base")
    if name.endswith("rrm"):
        train_rrm(base, tokenizer, recipe, 0, lambda step, right: None)
        save(base, tokenizer, folder)
    else:
        save(_train_scalar(base, tokenizer, recipe), tokenizer, folder)


def _train_scalar(
    base: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, recipe: RRMRecipe
) -> PreTrainedModel:
    """Bradley-Terry: maximise the log-probability that the right response beats the wrong one."""
    rng = random.Random(0)
    torch.manual_seed(0)
    queries = all_queries(held_out=False)
    mistakes = varied_mistakes(base, tokenizer, queries, recipe.longest_wrong)
    model, _ = load_scalar(CHECKPOINTS / "base")
    optimizer = make_optimizer(model, _LEARNING_RATE, weight_decay=0.01)
    model.train()
    for step in range(1, _STEPS + 1):
        set_learning_rate(optimizer, _LEARNING_RATE * min(1.0, step / 20, 2 * (1 - step / (_STEPS + 1))))
        pairs = [draw_pair(queries, mistakes, recipe, rng) for _ in range(_PAIRS)]
        asked = [pair.query for pair in pairs]
        right = [pair.first if pair.better == 1 else pair.second for pair in pairs]
        wrong = [pair.second if pair.better == 1 else pair.first for pair in pairs]
        scores = score(model, tokenizer, asked + asked, right + wrong)
        loss = -torch.nn.functional.logsigmoid(scores[:_PAIRS] - scores[_PAIRS:]).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()


def _held_out(recipe: RRMRecipe) -> list[JudgedPair]:
    rng = random.Random(1)
    base, tokenizer = load(CHECKPOINTS / "base")
    torch.manual_seed(1)
    queries = all_queries(held_out=True)
    mistakes = varied_mistakes(base, tokenizer, queries, recipe.longest_wrong)
    return [draw_pair(queries, mistakes, recipe, rng) for _ in range(400)]


def _measure(name: str, judges: Path) -> dict[str, float]:
    """A judge's accuracy on held-out pairs of both kinds; one that compares sees both orders."""
    accuracies = {}
    for kind, recipe in (("broad", RRMRecipe()), ("narrow", NARROW)):
        pairs = _held_out(recipe)
        if name.endswith("scalar"):
            right = prefers_right(*load_scalar(folder_of(name, judges)), pairs)
            accuracies[kind] = round(sum(right) / len(right), 4)
        else:
            judged = score_judge(*load(folder_of(name, judges)), pairs)
            accuracies[kind] = round(judged.accuracy.mean, 4)
    return accuracies
