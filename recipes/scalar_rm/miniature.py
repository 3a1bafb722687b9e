"""The scalar baseline in miniature: a reward model of 100,000 parameters for the digits, on a CPU, in under a minute.

    python -m recipes.scalar_rm.miniature --output out/scalar_rm --seed 0

Pairs are those that the miniature's RRM is trained on: the right answer against a wrong one of any kind.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from pathlib import Path

from datasets import Dataset, disable_progress_bars

from recipes.miniature.task import all_queries, right_answer, wrong_answer
from recipes.scalar_rm.train import train
from rrm_reward.build import build_arena
from rrm_reward.config import load
from rrm_reward.types import Group

BASE = Path(__file__).parents[1] / "miniature" / "checkpoints" / "base"
PAIRS = 6_000

SETTINGS = {
    "num_train_epochs": 1,
    "per_device_train_batch_size": 64,
    "learning_rate": 3e-3,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 10,
    "max_length": 256,
    "gradient_checkpointing": False,
    "bf16": False,
    "use_cpu": True,
    "save_strategy": "no",
    "logging_steps": 50,
    "report_to": "none",
    "disable_tqdm": True,
    "dataloader_pin_memory": False,
}


def preference_pairs(count: int, seed: int, *, held_out: bool) -> Dataset:
    """Right answers against wrong ones, as TRL reads them."""
    rng = random.Random(f"{seed} {held_out}")
    queries = all_queries(held_out=held_out)

    def row() -> dict[str, list[dict[str, str]]]:
        query = rng.choice(queries)
        texts = {"prompt": query, "chosen": right_answer(query), "rejected": wrong_answer(query, rng)}
        return {
            name: [{"role": "user" if name == "prompt" else "assistant", "content": text}]
            for name, text in texts.items()
        }

    return Dataset.from_list([row() for _ in range(count)])


async def accuracy(model: str | Path, pairs: Dataset) -> float:
    """Share of pairs whose right answer gets the higher reward, through the library and its configuration."""
    scalar = ["judge.kind=scalar", "judge.backend=transformers", "judge.device=cpu", f"judge.model={model}"]
    async with build_arena(load(overrides=scalar)) as arena:
        groups = [
            Group(str(k), row["prompt"], [row["chosen"][0]["content"], row["rejected"][0]["content"]])
            for k, row in enumerate(pairs)
        ]
        results = [result async for _, result in arena.judge_all(groups)]
    return sum(result.rewards[0] > result.rewards[1] for result in results) / len(results)


def main() -> None:
    """Train, and print the accuracy on held-out pairs as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("out/scalar_rm"))
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    disable_progress_bars()
    began = time.monotonic()
    pairs = preference_pairs(arguments.pairs, arguments.seed, held_out=False)
    train(str(BASE), pairs, arguments.output, {**SETTINGS, "seed": arguments.seed})
    trained = time.monotonic() - began
    held_out = preference_pairs(500, arguments.seed, held_out=True)
    share = asyncio.run(accuracy(arguments.output.resolve(), held_out))
    print(json.dumps({"accuracy": share, "pairs": arguments.pairs, "train_seconds": round(trained, 1)}))


if __name__ == "__main__":
    main()
