r"""A short run of the real `GRPOTrainer` with the miniature's policy, whose calls to the reward are written down.

    torchrun --nproc-per-node 2 -m tests.trl.runs FOLDER http://127.0.0.1:8000/v1

Writes ``FOLDER/rank<r>.json``: the ``calls`` (prompts, completions, rewards) and the trainer's ``log``.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from recipes.miniature.evaluate import load
from recipes.miniature.make_checkpoints import CHECKPOINTS
from recipes.miniature.sampling import ask
from recipes.miniature.task import all_queries
from rrm_reward.integrations.trl import RRMReward


def settings(folder: Path, **changes: Any) -> GRPOConfig:
    """Two steps of 12 rollouts each on the CPU."""
    defaults: dict[str, Any] = {
        "output_dir": str(folder),
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "num_generations": 4,
        "per_device_train_batch_size": 12,
        "max_completion_length": 8,
        "learning_rate": 5e-4,
        "beta": 0.0,
        "max_steps": 2,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    return GRPOConfig(**{**defaults, **changes})


def prompts(count: int) -> Dataset:
    """Training prompts with an id each."""
    asked = all_queries(held_out=False)[:: 900 // count][:count]
    return Dataset.from_dict({"prompt": [ask(query) for query in asked], "prompt_id": list(range(count))})


def make_trainer(reward: Any, args: GRPOConfig, **options: Any) -> GRPOTrainer:
    policy, tokenizer = load(CHECKPOINTS / "base")
    return GRPOTrainer(
        policy,
        reward_funcs=reward,
        args=args,
        train_dataset=prompts(60),
        processing_class=tokenizer,
        **options,
    )


class Recorded:
    """A reward function that remembers what it was asked and said."""

    def __init__(self, reward: RRMReward) -> None:
        self.reward = reward
        self.__name__ = reward.__name__
        self.calls: list[dict[str, Any]] = []

    def __call__(self, prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        rewards = self.reward(prompts, completions, **columns)
        self.calls.append({"prompts": prompts, "completions": completions, "rewards": rewards})
        return rewards


def main(folder: Path, url: str) -> None:
    rank, processes = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    args = settings(
        folder,
        per_device_train_batch_size=12 // processes,
        num_generations_eval=2,
        per_device_eval_batch_size=6 // processes,
    )
    with RRMReward({"judge": {"urls": [url], "model": "RRM-7B"}}) as reward:
        recorded = Recorded(reward)
        trainer = make_trainer(recorded, args, eval_dataset=prompts(3))
        trainer.train()
        trainer.evaluate()
        log = trainer.state.log_history
        (folder / f"rank{rank}.json").write_text(json.dumps({"calls": recorded.calls, "log": log}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
