"""One run of the ablation: TRL trains the miniature's policy on a row's reward, and this writes down how it goes."""

from __future__ import annotations

import logging
import random
import re
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from recipes.ablation.analysis import MISTAKES
from recipes.ablation.judges import Preference
from recipes.ablation.rewards import make_reward
from recipes.ablation.rows import BUDGET, ROWS
from recipes.miniature.evaluate import load
from recipes.miniature.make_checkpoints import CHECKPOINTS
from recipes.miniature.sampling import ask, sample
from recipes.miniature.task import LONGEST_WRONG_ANSWER, all_queries, make_pair, right_answer

ROLLOUTS = 48
"""A step, whatever the group size: 6 prompts of 8, or 3 of 16."""

LEARNING_RATE = 5e-4

_EVERY = 5
_ALARMS = "rrm_reward.health._alarms"
_GAUGES = (
    *("first_share_low", "first_share_high", "position", "position_error", "no_verdict", "intransitive"),
    *("length_drift", "length_correlation", "decided"),
)
_LOGGED = {
    "completions/mean_length": "train_length",
    **{
        f"rrm/{name}": name
        for name in ("judge_calls", "distinct", "first_share", "unknown_share", "reward_spread")
    },
    **{f"rrm/health/{name}": name for name in _GAUGES},
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run.

    Attributes:
        row: a name of `ROWS`.
        group_size: rollouts of a prompt.
        seed: of prompts, sampling and brackets.
        steps: GRPO steps.
    """

    row: str
    group_size: int
    seed: int
    steps: int = 50

    @property
    def name(self) -> str:
        """Names the run's file."""
        return f"{self.row}-g{self.group_size}-s{self.seed}"

    def settings(self) -> dict[str, Any]:
        """What the numbers depend on; a file with other settings is another run's."""
        row = ROWS[self.row]
        return {
            **asdict(self),
            "rollouts": ROLLOUTS,
            "learning_rate": LEARNING_RATE,
            "budget": BUDGET[self.group_size] if row.compares and row.budgeted else None,
            **{name: getattr(row, name) for name in ("judge", "tournament", "rating", "scale_rewards")},
        }


@dataclass(frozen=True, slots=True)
class Point:
    """The policy on all held-out queries, after `step` steps.

    Attributes:
        step: 0 is before training.
        accuracy: share of sampled answers that are right.
        length: mean tokens of a sampled answer; 3 is right.
        prefers_correct: share of judgments that prefer the right answer to this policy's wrong ones; None where
            nothing it said was wrong.
        pairs: of right and wrong answers that were judged.
    """

    step: int
    accuracy: float
    length: float
    prefers_correct: float | None
    pairs: int


def measure(policy: Any, tokenizer: Any, prefers: Preference, step: int, samples_per_query: int) -> Point:
    """A point of the curve; leaves torch's generator as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(step)
        rng = random.Random(step)
        queries = [query for query in all_queries(held_out=True) for _ in range(samples_per_query)]
        drawn = sample(policy, tokenizer, list(map(ask, queries)), max_new_tokens=LONGEST_WRONG_ANSWER)
        said = list(zip(queries, (one.text for one in drawn), strict=True))
        wrong = sorted({(query, text) for query, text in said if text != right_answer(query)})
        pairs = [make_pair(query, text, rng) for query, text in rng.sample(wrong, min(len(wrong), MISTAKES))]
        right = prefers(pairs) if pairs else []
    return Point(
        step,
        round(sum(text == right_answer(query) for query, text in said) / len(said), 4),
        round(sum(one.length for one in drawn) / len(drawn), 3),
        round(sum(right) / len(right), 4) if right else None,
        len(pairs),
    )


class _Curve(TrainerCallback):  # type: ignore[misc]
    """Measures the policy while it is trained, and keeps what the trainer logs."""

    def __init__(self, tokenizer: Any, prefers: Preference) -> None:
        self._tokenizer, self._prefers = tokenizer, prefers
        self.points: list[Point] = []
        self.logged: dict[str, list[float | None]] = {name: [] for name in _LOGGED.values()}

    @property
    def steps(self) -> int:
        """How many are over."""
        return len(self.logged["judge_calls"])

    def _measure(self, model: Any, step: int, samples_per_query: int = 1) -> None:
        self.points.append(measure(model, self._tokenizer, self._prefers, step, samples_per_query))
        model.train()

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self._measure(model, 0)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        if state.global_step == state.max_steps:
            self._measure(model, state.global_step, samples_per_query=10)
        elif state.global_step % _EVERY == 0:
            self._measure(model, state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if "loss" in (logs or {}):
            for name, short in _LOGGED.items():
                value = logs.get(name)
                self.logged[short].append(None if value is None else round(float(value), 4))


class _Warnings(logging.Handler):
    """Keeps what the package's health warns of, ``[step, name]``, instead of printing it."""

    def __init__(self, curve: _Curve) -> None:
        super().__init__()
        self._curve = curve
        self.heard: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        name = re.search(r"health\.max_(\w+)", record.getMessage())
        if name:
            self.heard.append((self._curve.steps + 1, name[1]))


def _listen(curve: _Curve) -> _Warnings:
    warnings = _Warnings(curve)
    alarms = logging.getLogger(_ALARMS)
    alarms.handlers, alarms.propagate = [warnings], False
    return warnings


def run(plan: Plan, judges: Path) -> dict[str, Any]:
    """Train, and return the run's numbers as plain JSON.

    Args:
        plan: what to run.
        judges: folder of the judges that `recipes.ablation.judges` made.
    """
    torch.set_num_threads(1)
    logging.getLogger("trl").setLevel(logging.ERROR)
    began = time.perf_counter()
    row = ROWS[plan.row]
    rng = random.Random(plan.seed)
    queries = rng.sample(all_queries(held_out=False), 900)[: plan.steps * ROLLOUTS // plan.group_size]
    policy, tokenizer = load(CHECKPOINTS / "base")
    with (
        tempfile.TemporaryDirectory() as folder,
        make_reward(row, plan.group_size, plan.seed, judges) as reward,
        Preference(row.judge, plan.seed, judges) as prefers,
    ):
        curve = _Curve(tokenizer, prefers)
        warnings = _listen(curve)
        trainer = GRPOTrainer(
            policy,
            reward_funcs=reward,
            args=_settings(plan, folder),
            train_dataset=Dataset.from_dict({"prompt": [ask(query) for query in queries]}),
            processing_class=tokenizer,
            callbacks=[curve],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    calls = [value for value in curve.logged["judge_calls"] if value is not None]
    return {
        **plan.settings(),
        "judge_calls_per_group": round(sum(calls) / len(calls), 3),
        "seconds": round(time.perf_counter() - began, 1),
        "warnings": warnings.heard,
        "points": [asdict(point) for point in curve.points],
        "logged": curve.logged,
    }


def _settings(plan: Plan, folder: str) -> GRPOConfig:
    """As `recipes/trl/miniature.yaml`."""
    return GRPOConfig(
        output_dir=folder,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        seed=plan.seed,
        num_generations=plan.group_size,
        per_device_train_batch_size=ROLLOUTS,
        max_completion_length=LONGEST_WRONG_ANSWER,
        temperature=1.0,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=10,
        beta=0.0,
        scale_rewards=ROWS[plan.row].scale_rewards,
        max_steps=plan.steps,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
