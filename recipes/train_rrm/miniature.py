"""The recipe on a CPU: verl trains the miniature's base into a judge, with the recipe's own config, reward and log.

    python -m recipes.train_rrm.miniature --seed 0 --out out/train_rrm

Pairs of a right and a wrong answer to "Sort the digits: 937" stand for the preference pairs; queries are held out by
their sorted digits. What differs from ``train_rrm.yaml`` is size and speed: 16 pairs of 8 judgments a step, each used
four times (``ppo_epochs``), for verl's own cost of a sample is what limits a miniature. Sampling is hotter (1.0) in
training, where a tiny model has to explore; it is measured at the judge's own 0.6.

Written to the output folder: the judge (``judge/``, a model that `rrm_reward.judge.Judge` loads), ``summary.json``,
verl's ``metrics.jsonl`` and ``log.txt``, and the pairs.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from recipes.miniature.demo import Clock, clear
from recipes.miniature.demo_plot import series
from recipes.miniature.evaluate import held_out_pairs
from recipes.miniature.make_checkpoints import CHECKPOINTS
from recipes.miniature.task import JudgedPair, all_queries, make_pair, wrong_answer
from recipes.miniature.train_rrm import LONGEST_JUDGMENT
from recipes.miniature.verl_cpu.launch import CPURun
from recipes.scaling.measure import draw, in_process, over_votes
from rrm_reward.data.pairs._row import Pair, prompt_of, verl_row
from rrm_reward.judge import make_view

RECIPE = Path(__file__).parent
SOURCE = "sort_digits_pairs"
LONGEST_PROMPT = 64
"""Tokens; the miniature's tokenizer makes about 30 of the real prompt and two answers."""


@dataclass(frozen=True, slots=True)
class Setting:
    """The size of the run.

    Attributes:
        seed: of pairs and order.
        steps: GRPO steps.
        pairs: judged pairs of a step.
        judgments: sampled of each pair, GRPO's group.
        passes: over each batch of judgments.
        learning_rate: at the start; falls along a cosine to 0, for at a constant one the accuracy goes up and down,
            and the last validation may be a dip.
        held_out: pairs of a validation.
        validate_every: steps between validations.
        limit_seconds: after which the run is ended.
    """

    seed: int = 0
    steps: int = 10
    pairs: int = 16
    judgments: int = 8
    passes: int = 4
    learning_rate: float = 5e-4
    held_out: int = 150
    validate_every: int = 5
    limit_seconds: float = 3600.0


def row(pair: JudgedPair, split: str, index: int) -> dict[str, Any]:
    """One row, by the library's own builder."""
    first_is_better = pair.better == 1
    better, worse = (pair.first, pair.second) if first_is_better else (pair.second, pair.first)
    made = Pair(SOURCE, str(index), pair.query, better, worse)
    prompt = prompt_of(made, first_is_better, make_view(), frozenset())
    return verl_row(made, prompt, first_is_better=first_is_better, split=split, index=index)


def write_pairs(folder: Path, setting: Setting) -> tuple[Path, Path]:
    """Write ``train.parquet`` and ``val.parquet``; no training query has the sorted digits of a held-out one."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(setting.seed)
    queries = rng.choices(all_queries(held_out=False), k=setting.steps * setting.pairs)
    train = [make_pair(query, wrong_answer(query, rng), rng) for query in queries]
    paths = folder / "train.parquet", folder / "val.parquet"
    for path, pairs in zip(paths, (train, held_out_pairs(setting.held_out, setting.seed)), strict=True):
        rows = [row(pair, path.stem, index) for index, pair in enumerate(pairs)]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return paths


def overrides(setting: Setting) -> list[str]:
    """Settings of the miniature that the recipe has otherwise."""
    return [
        f"actor_rollout_ref.actor.ppo_epochs={setting.passes}",
        "actor_rollout_ref.actor.optim.lr_scheduler_type=cosine",
        "actor_rollout_ref.actor.use_dynamic_bsz=False",
        "actor_rollout_ref.rollout.log_prob_use_dynamic_bsz=False",
        "actor_rollout_ref.ref.log_prob_use_dynamic_bsz=False",
        "actor_rollout_ref.actor.fsdp_config.param_offload=False",
        "actor_rollout_ref.actor.fsdp_config.optimizer_offload=False",
        "actor_rollout_ref.ref.fsdp_config.param_offload=False",
        "actor_rollout_ref.rollout.temperature=1.0",
        # on-policy, the rollout's log-probabilities are the trainer's own: a second pass would only cost time
        "algorithm.rollout_correction.bypass_mode=True",
        # the last step's weights are the judge; verl writes them as shards, for `merge`
        f"trainer.save_freq={setting.steps}",
        "actor_rollout_ref.actor.checkpoint.save_contents=[model]",
        "trainer.v1.sampler.custom_sampler.path=pkg://recipes.train_rrm.quick_log",
        "trainer.v1.sampler.custom_sampler.name=QuickVerdictLog",
        f"--config-path={RECIPE}",
        "--config-name=train_rrm",
    ]


def accuracies(metrics: list[dict[str, Any]]) -> dict[int, float]:
    """Sampled accuracy on held-out pairs by step, as verl's own validation logged it."""
    steps, values = series(metrics, f"val-core/{SOURCE}/acc/mean@1")
    return dict(zip(steps, values, strict=True))


def summarise(setting: Setting, metrics: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """What the run has to say, as written to ``summary.json``."""
    curve = accuracies(metrics)
    logged = {
        name: dict(zip(*series(metrics, f"rrm/{name}"), strict=True))
        for name in ("accuracy", "position_bias", "no_verdict", "length")
    }
    return {
        "setting": asdict(setting),
        "accuracy_before": curve[0],
        "accuracy_after": curve[max(curve)],
        "accuracy_by_step": curve,
        "training": logged,
        "seconds": round(seconds, 1),
    }


def train(setting: Setting, out: Path, clock: Clock) -> dict[str, Any]:
    """Run verl to its end.

    Raises:
        SystemExit: it failed or took too long; says where its log is.
    """
    training, val = write_pairs(out / "data", setting)
    run = CPURun(
        out,
        model=CHECKPOINTS / "base",
        tokenizer=CHECKPOINTS / "base",
        train=training,
        val=val,
        steps=setting.steps,
        prompts=setting.pairs,
        rollouts=setting.judgments,
        prompt_tokens=LONGEST_PROMPT,
        response_tokens=LONGEST_JUDGMENT,
        learning_rate=setting.learning_rate,
        validate_every=setting.validate_every,
        seed=setting.seed,
    )
    began, seen = time.monotonic(), 0
    with run.start(overrides(setting)) as process:
        while True:
            try:
                code: int | None = process.wait(1.0)
            except subprocess.TimeoutExpired:
                code = None
            lines = run.metrics()
            for step, value in accuracies(lines[seen:]).items():
                clock.say(f"step {step:2d}: {value:.3f} of the held-out pairs judged right")
            seen = len(lines)
            if code is not None:
                break
            if time.monotonic() - began > setting.limit_seconds:
                raise SystemExit(f"the run took more than {setting.limit_seconds:.0f} s; see {run.log}")
    if code:
        tail = "\n".join(run.log.read_text(errors="replace").splitlines()[-25:])
        raise SystemExit(f"{tail}\nverl ended with {code}; the whole log is {run.log}")
    return summarise(setting, run.metrics(), time.monotonic() - began)


def merge(out: Path, steps: int) -> Path:
    """The trained judge as a folder that transformers and vLLM load, made of the shards that verl wrote.

    Raises:
        SystemExit: they cannot be merged.
    """
    judge = out / "judge"
    shards = out / "checkpoints" / f"global_step_{steps}" / "actor"
    command = [sys.executable, "-m", "verl.model_merger", "merge", "--backend", "fsdp"]
    command += ["--local_dir", str(shards), "--target_dir", str(judge)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{done.stdout[-2000:]}{done.stderr[-2000:]}\n{shards} cannot be merged")
    return judge


def judged_right(judge: Path, pairs: int, seed: int) -> float:
    """Share of judgments, each pair in both orders, that name the right answer: through the library's own `Judge`."""
    labelled = [
        (pair.query, *((pair.first, pair.second) if pair.better == 1 else (pair.second, pair.first)))
        for pair in held_out_pairs(pairs, seed)
    ]
    (point,) = over_votes(draw(in_process(judge), labelled, votes=1, seed=seed), [1])
    return point.accuracy


def main() -> None:
    """Train, and write the summary."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/train_rrm"))
    parser.add_argument("--steps", type=int, default=Setting().steps)
    arguments = parser.parse_args()
    setting = Setting(seed=arguments.seed, steps=arguments.steps)
    out = arguments.out.resolve()
    clear(out)
    clock = Clock()
    summary = train(setting, out, clock)
    judge = merge(out, setting.steps)
    summary["accuracy_of_the_judge"] = judged_right(judge, setting.held_out, setting.seed)
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    clock.say(
        f"held-out accuracy {summary['accuracy_before']:.3f} -> {summary['accuracy_after']:.3f} "
        f"in {setting.steps} steps and {summary['seconds']:.0f} s; "
        f"by the library, {judge} has {summary['accuracy_of_the_judge']:.3f}"
    )


if __name__ == "__main__":
    main()
