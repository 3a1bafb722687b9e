"""`make demo`: verl trains a small policy on prompts without answers; a small RRM is the reward.

    python -m recipes.miniature.demo --seed 0 --judge rrm --out out/demo

The unmodified ``verl.trainer.main_ppo`` runs GRPO on "Sort the digits: 937". Every step it samples 8 answers to each of
8 prompts; the reward manager gathers them, the RRM compares pairs of them, their Elo ratings are the rewards. No
answer is ever looked at, but for validation: verl's validation compares with the rule, to show whether the policy
really learns. The same configuration with RRM-7B on GPUs is ``recipes/verl/webinstruct_rrm.yaml``.

Written to the output folder: ``summary.json``, ``curve.png``, verl's ``metrics.jsonl`` and ``log.txt``,
``judgments.sqlite`` with every verdict, and ``samples.jsonl`` with every rollout and its reward.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.miniature.data import write_data
from recipes.miniature.demo_plot import draw_curve, validation
from recipes.miniature.task import all_queries, right_answer
from recipes.miniature.verl_cpu.launch import CPURun
from rrm_reward.record import read_groups

CHECKPOINTS = Path(__file__).parent / "checkpoints"
STEPS = 24
TICK_SECONDS = 5.0
VALIDATION_SAMPLES = 2
"""Of each held-out prompt, as rows of their own: of several samples of one row verl draws a thousand bootstraps for
every number that is reported, which takes half a second a row."""

JUDGES = {
    "rrm": (CHECKPOINTS / "rrm", "the RRM: the base after GRPO on verdicts (+1 right, -1 wrong)"),
    "untrained": (CHECKPOINTS / "base", "the base model itself, never trained to judge"),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """The size of the run; the defaults fit a laptop."""

    seed: int
    judge: str
    steps: int = STEPS
    prompts: int = 8
    rollouts: int = 8
    validate_every: int = 12
    limit_seconds: float = 3600.0


class Clock:
    """Prints with the seconds since the start, and keeps when each stage began."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._stages: list[tuple[str, float]] = []

    def stage(self, name: str) -> None:
        """What follows belongs to this stage."""
        self._stages.append((name, time.monotonic()))

    def say(self, line: str) -> None:
        """One line of progress."""
        print(f"[{time.monotonic() - self._start:4.0f} s] {line}", flush=True)

    def seconds(self) -> dict[str, float]:
        """Seconds by stage, and in all."""
        ends = [began for _, began in self._stages[1:]] + [time.monotonic()]
        stages = {name: round(end - began, 1) for (name, began), end in zip(self._stages, ends, strict=True)}
        return {**stages, "total": round(time.monotonic() - self._start, 1)}


def rrm_overrides(setting: Setting, out: Path) -> list[str]:
    """The ``rrm`` node of the run, as a user writes it into a verl config."""
    folder, _ = JUDGES[setting.judge]
    return [
        "reward.reward_manager.source=importlib",
        "reward.reward_manager.name=RRMRewardManager",
        "reward.reward_manager.module.path=pkg://rrm_reward.integrations.verl.reward_manager",
        f"+rrm.seed={setting.seed}",
        "+rrm.judge.backend=transformers",
        f"+rrm.judge.model={folder}",
        "+rrm.judge.max_tokens=32",
        "+rrm.judge.device=cpu",
        "+rrm.tournament.name=round_robin",
        f"+rrm.tournament.budget={setting.rollouts * 2}",
        "+rrm.rating.name=elo",
        f"+rrm.log.path={out}/judgments.sqlite",
        f"+rrm_verl.log={out}/samples.jsonl",
        # on-policy, the rollout's log-probabilities are the trainer's own: a second pass would only cost time
        "algorithm.rollout_correction.bypass_mode=True",
        # validation shows the true accuracy, sampled as in training: it must not be the judge's opinion
        "+rrm_verl.validation=rule",
        "reward.custom_reward_function.path=pkg://rrm_reward.integrations.verl.exact_match",
        "reward.custom_reward_function.name=compute_score",
        "actor_rollout_ref.rollout.val_kwargs.do_sample=True",
        "actor_rollout_ref.rollout.val_kwargs.temperature=1.0",
        f"data.val_files=[{','.join([str(out / 'data' / 'val.parquet')] * VALIDATION_SAMPLES)}]",
    ]


def accuracy(metrics: dict[str, Any]) -> float | None:
    """verl's own validation score of a logged step: the share of right answers on held-out prompts."""
    _, values = validation([{"step": 0, "data": metrics}])
    return values[0] if values else None


def follow(run: CPURun, process: subprocess.Popen[bytes], setting: Setting, clock: Clock) -> None:
    """Print the run's progress until it ends, at least one line every `TICK_SECONDS`.

    Raises:
        SystemExit: the run failed or took too long; says where its log is.
    """
    seen, deadline = 0, time.monotonic() + setting.limit_seconds
    spoken = time.monotonic()
    while process.poll() is None:
        if time.monotonic() > deadline:
            raise SystemExit(f"the run took more than {setting.limit_seconds:.0f} s; see {run.log}")
        time.sleep(0.25)
        lines = run.metrics()
        if lines and not seen:
            clock.stage("training")
        for line in lines[seen:]:
            if (right := accuracy(line["data"])) is not None:
                clock.say(f"step {line['step']:2d}: {right:.3f} of the held-out prompts answered right")
                spoken = time.monotonic()
        seen = len(lines)
        if time.monotonic() - spoken > TICK_SECONDS:
            spoken = time.monotonic()
            clock.say(
                f"step {lines[-1]['step']} of {setting.steps}" if lines else "verl is starting (Ray, workers)"
            )
    if process.returncode:
        tail = "\n".join(run.log.read_text(errors="replace").splitlines()[-25:])
        raise SystemExit(f"{tail}\nverl ended with {process.returncode}; the whole log is {run.log}")


def training_accuracy(samples: Path) -> dict[int, float]:
    """True accuracy of the rollouts of each step, by the rule; nothing in the run ever looked at it."""
    right: dict[int, list[bool]] = {}
    for line in samples.read_text().splitlines():
        sample = json.loads(line)
        answer = sample["response"] == right_answer(sample["query"])
        right.setdefault(sample["step"], []).append(answer)
    return {step: sum(answers) / len(answers) for step, answers in sorted(right.items())}


def printed_by(command: list[str], doing: str, clock: Clock) -> str:
    """The output of a program; every `TICK_SECONDS` of waiting a line says what it is doing.

    Raises:
        SystemExit: it failed; says what it complained of.
    """
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while True:
        clock.say(doing)
        try:
            printed, complaints = process.communicate(timeout=TICK_SECONDS)
            break
        except subprocess.TimeoutExpired:
            continue
    if process.returncode:
        raise SystemExit(f"{complaints}\n{doing} failed: {' '.join(command)}")
    return printed


def judge_accuracy(setting: Setting, clock: Clock) -> dict[str, float]:
    """Of this run's judge, on held-out pairs and on the base policy's own mistakes, as evaluate.py measures it."""
    folder, _ = JUDGES[setting.judge]
    command = [sys.executable, "-m", "recipes.miniature.evaluate", "--judge", str(folder)]
    command += ["--policy", str(CHECKPOINTS / "base")]
    scores = json.loads(printed_by(command, "measuring the judge", clock))
    return {
        "made_up_mistakes": scores["judge"]["accuracy"]["mean"],
        "policy_mistakes": scores["judge_on_policy_mistakes"]["accuracy"]["mean"],
    }


def summarise(run: CPURun, setting: Setting, clock: Clock, judge: dict[str, float]) -> dict[str, Any]:
    """Everything the demo has to say, as written to ``summary.json``."""
    curve = [(line["step"], right) for line in run.metrics() if (right := accuracy(line["data"])) is not None]
    outcomes = [
        outcome for group in read_groups(run.folder / "judgments.sqlite") for outcome in group.outcomes
    ]
    return {
        "seed": setting.seed,
        "judge": setting.judge,
        "accuracy_before": curve[0][1],
        "accuracy_after": curve[-1][1],
        "judge_accuracy": judge["made_up_mistakes"],
        "judge_accuracy_on_policy_mistakes": judge["policy_mistakes"],
        "comparisons": len(outcomes),
        "missing": sum(outcome.p is None for outcome in outcomes),
        "steps": curve[-1][0],
        "seconds": clock.seconds(),
        "accuracy_by_step": dict(curve),
        "training_accuracy_by_step": training_accuracy(run.folder / "samples.jsonl"),
    }


def explain(summary: dict[str, Any], out: Path) -> str:
    """What happened and what to do next, in a few lines."""
    before, after = summary["accuracy_before"], summary["accuracy_after"]
    _, what = JUDGES[summary["judge"]]
    error = math.sqrt(after * (1 - after) / (VALIDATION_SAMPLES * len(all_queries(held_out=True))))
    return f"""
The policy answered {before:.1%} of the held-out prompts right before training and {after:.1%} after
{summary["steps"]} steps of GRPO (+-{error:.1%}, sampled at temperature 1), without ever seeing an answer.
Its reward came from {what}:
{summary["comparisons"]} comparisons, {
        summary["missing"]
    } of them without a verdict; it finds the right answer in
{summary["judge_accuracy"]:.1%} of held-out pairs.

  {out}/curve.png      reward, true accuracy and length over the steps
  {out}/summary.json   the figures above

Next:  make demo JUDGE={"untrained" if summary["judge"] == "rrm" else "rrm"}    the same with {
        JUDGES["untrained" if summary["judge"] == "rrm" else "rrm"][1]
    }
       recipes/verl/webinstruct_rrm.yaml    the same with RRM-7B and your own policy on GPUs
"""


def clear(out: Path) -> None:
    """An empty folder for the run, in the place of an earlier run's.

    Raises:
        SystemExit: the folder holds something that is not such a run, and is left alone.
    """
    if out.exists():
        if any(out.iterdir()) and not ((out / "log.txt").is_file() and (out / "data").is_dir()):
            raise SystemExit(
                f"{out} holds something else than an earlier run of the demo: name another folder"
            )
        shutil.rmtree(out)
    out.mkdir(parents=True)


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--judge", choices=JUDGES, default="rrm")
    parser.add_argument("--out", type=Path, default=Path("out/demo"))
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    setting = Setting(arguments.seed, arguments.judge, arguments.steps)
    out = arguments.out.resolve()
    clear(out)
    clock = Clock()

    clock.stage("preparation")
    train, val = write_data(out / "data", seed=setting.seed)
    run = CPURun(
        out,
        model=CHECKPOINTS / "base",
        tokenizer=CHECKPOINTS / "base",
        train=train,
        val=val,
        steps=setting.steps,
        prompts=setting.prompts,
        rollouts=setting.rollouts,
        prompt_tokens=32,
        response_tokens=8,
        learning_rate=5e-4,
        validate_every=setting.validate_every,
        seed=setting.seed,
    )
    clock.stage("start")
    clock.say(f"GRPO in verl {run.verl_version()}: {setting.prompts} prompts x {setting.rollouts} rollouts")
    with run.start(rrm_overrides(setting, out)) as process:
        follow(run, process, setting, clock)
    clock.stage("evaluation")
    summary = summarise(run, setting, clock, judge_accuracy(setting, clock))
    summary["seconds"] = clock.seconds()
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    draw_curve(
        run.metrics(),
        summary["training_accuracy_by_step"],
        out / "curve.png",
        title=f"judge: {setting.judge}, seed {setting.seed}",
    )
    print(explain(summary, out), flush=True)


if __name__ == "__main__":
    main()
