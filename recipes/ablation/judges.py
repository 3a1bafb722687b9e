"""The judges of the ablation: as the package's ``judge`` settings, made where they are missing, asked about pairs.

rrm, base            the miniature's RRM, and what it was trained from: the shipped ones, whatever the seed
scalar               a Bradley-Terry reward model, by `recipes.scalar_rm` and from the kind of pairs the RRM learnt from
narrow_scalar        the same, from pairs whose wrong responses are never longer than a right one
narrow_rrm           an RRM as the miniature's, from such pairs
oracle, oracle_judge the rule that knows the answer, as a score and as a judge of pairs

What is made is made once for every seed, so that what a run of a made judge shows is not the luck of one judge.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import random
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from datasets import Dataset, disable_progress_bars

from recipes.ablation.wording import save_wordless_tokenizer
from recipes.miniature.evaluate import load
from recipes.miniature.make_checkpoints import CHECKPOINTS, save
from recipes.miniature.task import DIGITS_PER_QUERY, JudgedPair, all_queries
from recipes.miniature.train_rrm import LONGEST_JUDGMENT, RRMRecipe, draw_pair, train_rrm, varied_mistakes
from rrm_reward.config import load as load_config
from rrm_reward.scoring import make_judge

NARROW = RRMRecipe(longest_wrong=DIGITS_PER_QUERY)
_SHIPPED = {"rrm": CHECKPOINTS / "rrm", "base": CHECKPOINTS / "base"}
_MADE = ("scalar", "narrow_scalar", "narrow_rrm")
_ORACLES = {"oracle": "recipes.ablation.oracle:score", "oracle_judge": "recipes.ablation.oracle:prefer"}
_TOKENIZER = "tokenizer"
_HELD_OUT_PAIRS = 400


def name_of(judge: str, seed: int) -> str:
    """In ``judges.json``, and of the folder of one that is made."""
    return f"{judge}-{seed}" if judge in _MADE else judge


def settings(judge: str, seed: int, judges: Path) -> dict[str, Any]:
    """The ``judge`` node of the package's configuration.

    Args:
        judge: a name, see above.
        seed: of its training, if it is made.
        judges: folder of what `make_judge_of` made.
    """
    if judge in _ORACLES:
        return {"kind": "oracle", "function": _ORACLES[judge]}
    common = {
        "backend": "transformers",
        "model": str(_SHIPPED.get(judge, judges / name_of(judge, seed))),
        "tokenizer": str(judges / _TOKENIZER),
        "device": "cpu",
        "max_batch": 512,
    }
    if judge.endswith("scalar"):
        return {**common, "kind": "scalar"}
    return {**common, "kind": "rrm", "temperature": 0.6, "max_tokens": LONGEST_JUDGMENT}


def make_judge_of(judge: str, seed: int, judges: Path) -> None:
    """Make the judge if it is missing, and write its accuracy on pairs of both kinds into ``judges.json``.

    Args:
        judge: a name, see above; nothing is done for an oracle.
        seed: of its training.
        judges: folder to put it in.
    """
    if judge in _ORACLES:
        return
    judges.mkdir(parents=True, exist_ok=True)
    with (judges / ".lock").open("w") as lock:
        fcntl.flock(
            lock, fcntl.LOCK_EX
        )  # of two runs at a time, one makes the judge and the other waits for it
        _make_what_is_missing(judge, seed, judges)


def _make_what_is_missing(judge: str, seed: int, judges: Path) -> None:
    if not (judges / _TOKENIZER).exists():
        _whole(judges / _TOKENIZER, save_wordless_tokenizer)
    name = name_of(judge, seed)
    if judge in _MADE and not (judges / name).exists():
        began = time.perf_counter()
        _whole(judges / name, lambda folder: _make(judge, seed, folder))
        print(f"made {name} in {time.perf_counter() - began:.0f} s", flush=True)
    file = judges / "judges.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    if name not in known:
        known[name] = _measure(judge, seed, judges)
        file.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


class Preference:
    """A judge, asked which of two responses it prefers as the package asks it in training; both orders.

    Args:
        judge, seed, judges: see `settings`.
    """

    def __init__(self, judge: str, seed: int, judges: Path) -> None:
        self._judge = make_judge(load_config(tree={"judge": settings(judge, seed, judges)}).judge)
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        self._runner.run(self._judge.start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self._judge.aclose())
        self._runner.close()

    def __call__(self, pairs: Sequence[JudgedPair]) -> list[bool]:
        """Whether the right response is preferred: of every pair, then of every pair in the other order."""
        asked = [*pairs, *(pair.swapped() for pair in pairs)]
        return self._runner.run(self._ask(asked))

    async def _ask(self, asked: Sequence[JudgedPair]) -> list[bool]:
        view, compare = self._judge.view, self._judge.compare
        judgments = await asyncio.gather(
            *(compare(pair.query, view(pair.first), view(pair.second)) for pair in asked)
        )
        shares = [0.5 if judgment.p is None else judgment.p for judgment in judgments]
        return [p > 0.5 if pair.better == 1 else p < 0.5 for p, pair in zip(shares, asked, strict=True)]


def _whole(folder: Path, make: Callable[[Path], None]) -> None:
    """The folder is there when all of it is."""
    half = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    make(half)
    half.rename(folder)


def _make(judge: str, seed: int, folder: Path) -> None:
    recipe = NARROW if judge.startswith("narrow") else RRMRecipe()
    if judge.endswith("rrm"):
        model, tokenizer = load(CHECKPOINTS / "base")
        train_rrm(model, tokenizer, recipe, seed, lambda step, right: None)
        save(model, tokenizer, folder)
        return
    # TRL takes seconds to import, and most judges need none of it
    from recipes.scalar_rm.miniature import PAIRS, SETTINGS
    from recipes.scalar_rm.train import train

    disable_progress_bars()
    rows = [_preference_row(pair) for pair in _pairs(recipe, PAIRS, seed, held_out=False)]
    train(str(CHECKPOINTS / "base"), Dataset.from_list(rows), folder, {**SETTINGS, "seed": seed})


def _preference_row(pair: JudgedPair) -> dict[str, list[dict[str, str]]]:
    """As TRL's `RewardTrainer` reads it."""
    chosen, rejected = (pair.first, pair.second) if pair.better == 1 else (pair.second, pair.first)
    return {
        "prompt": [{"role": "user", "content": pair.query}],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
    }


def _pairs(recipe: RRMRecipe, count: int, seed: int, *, held_out: bool) -> list[JudgedPair]:
    rng = random.Random(seed)
    torch.manual_seed(seed)
    base, tokenizer = load(CHECKPOINTS / "base")
    queries = all_queries(held_out=held_out)
    mistakes = varied_mistakes(base, tokenizer, queries, recipe.longest_wrong)
    return [draw_pair(queries, mistakes, recipe, rng) for _ in range(count)]


def _measure(judge: str, seed: int, judges: Path) -> dict[str, float]:
    """A judge's accuracy on held-out pairs of both kinds."""
    accuracies = {}
    with Preference(judge, seed, judges) as prefers:
        for kind, recipe in (("broad", RRMRecipe()), ("narrow", NARROW)):
            right = prefers(_pairs(recipe, _HELD_OUT_PAIRS, 1, held_out=True))
            accuracies[kind] = round(sum(right) / len(right), 4)
    return accuracies
