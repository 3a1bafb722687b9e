"""``rrm-reward size``: whether policy and judge fit on some GPUs, what to set, and how long judging a step takes."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from typing import Any

from rrm_reward.cluster import _sizing as sizing
from rrm_reward.cluster._shapes import GIB, Shape
from rrm_reward.cluster._size_options import Machines, read_load, shape_of
from rrm_reward.cluster._sizing import USABLE, Load, Phase
from rrm_reward.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Plan:
    """Who lives where.

    Attributes:
        policy, judge: their shapes.
        load: of a step.
        machines: the policy's GPUs.
        theirs: the judge's; the same where it shares them.
        shared: whether it does.
        rollout_width, width: GPUs of a rollout engine and of a judge replica.
        phases: rollout, judging and training.
        wanted: ``gpu_memory_utilization`` by phase, where one was given.
    """

    policy: Shape
    judge: Shape
    load: Load
    machines: Machines
    theirs: Machines
    shared: bool
    rollout_width: int
    width: int
    phases: list[Phase]
    wanted: dict[str, float]

    @property
    def replicas(self) -> int:
        """Of the judge; none straddles nodes."""
        return self.theirs.nodes * (self.theirs.gpus // self.width)

    @property
    def wrong(self) -> list[str]:
        """What does not fit, as text."""
        wrong = [phase.name for phase in self.phases if not phase.fits]
        for phase in self.phases:
            least, most = phase.utilization
            if phase.fits and not least <= self.wanted.get(phase.name, most) <= most:
                given = f"gpu_memory_utilization {self.wanted[phase.name]:.2f} in {phase.name}"
                wrong.append(f"{given} ({least:.2f} to {most:.2f} fits)")
        return wrong

    def utilization(self, name: str) -> float:
        """Of the engine of a phase: what was given, or the most that fits."""
        (phase,) = (phase for phase in self.phases if phase.name == name)
        return self.wanted.get(name, phase.utilization[1])


@dataclass(frozen=True, slots=True)
class Estimate:
    """How a step is judged.

    Attributes:
        room: mean calls that one replica holds.
        concurrency: of the arena.
        sequences: calls that one replica decodes at once.
        rate, prefill: tokens/s of one replica.
        measured: whether the rate was given.
        decoding, reading: seconds of a step.
        longest: seconds of the judge's longest answer.
    """

    room: int
    concurrency: int
    sequences: int
    rate: float
    prefill: float
    measured: bool
    decoding: float
    reading: float
    longest: float


def make_plan(arguments: argparse.Namespace) -> Plan:
    """The plan that a command line describes.

    Raises:
        ConfigError: a size, a GPU or a number that cannot be.
    """
    policy, judge = shape_of(arguments.policy, "--policy"), shape_of(arguments.judge, "--judge")
    machines = Machines.parse(arguments.gpus, "--gpus")
    shared = arguments.judge_gpus is None
    theirs = machines if shared else Machines.parse(arguments.judge_gpus, "--judge-gpus")
    load = read_load(arguments)
    beside = sizing.STATE_BYTES * policy.parameters / machines.total if shared else 0.0

    def rollout(width: int) -> Phase:
        return sizing.training_phases(policy, load, machines.total, machines.chip, width)[0]

    def judging(width: int) -> Phase:
        return sizing.judging_phase(judge, load, theirs.chip, width, beside)

    rollout_width = _width(arguments.rollout_parallel, "--rollout-parallel", machines, rollout)
    width = _width(arguments.tensor_parallel, "--tensor-parallel", theirs, judging)
    training = sizing.training_phases(policy, load, machines.total, machines.chip, rollout_width)[1]
    given = {"rollout": arguments.rollout_utilization, "judging": arguments.utilization}
    return Plan(
        policy,
        judge,
        load,
        machines,
        theirs,
        shared,
        rollout_width,
        width,
        [rollout(rollout_width), judging(width), training],
        {name: value for name, value in given.items() if value is not None},
    )


def _width(given: int | None, option: str, machines: Machines, phase: Any) -> int:
    """What was given, or the smallest power of 2 that fits, or the largest there is."""
    if given is not None:
        if given > machines.gpus:
            raise ConfigError(option, given, f"a node has {machines.gpus} GPUs")
        return given
    width = 1
    while 2 * width <= min(machines.gpus, 8) and not phase(width).fits:
        width *= 2
    return width


def report(arguments: argparse.Namespace) -> tuple[str, bool]:
    """What is printed, and whether all of it fits.

    Raises:
        ConfigError: a size, a GPU or a number that cannot be.
    """
    plan = make_plan(arguments)
    where = (
        f"on the policy's GPUs, asleep at level {arguments.sleep} while it trains"
        if plan.shared
        else f"on {plan.theirs}"
    )
    lines = [
        f"policy {plan.policy.parameters / 1e9:.1f}e9 parameters on {plan.machines}, "
        f"rollout engines of {_gpus(plan.rollout_width)}",
        f"judge  {plan.judge.parameters / 1e9:.1f}e9 parameters {where}: "
        f"{plan.replicas} replica{'s' * (plan.replicas > 1)} of {_gpus(plan.width)}",
        "",
        *(line for phase in plan.phases for line in _said(phase)),
    ]
    if plan.shared and arguments.sleep == 1:
        host = plan.replicas // plan.theirs.nodes * plan.judge.weight_bytes / GIB
        lines.append(f"host memory of a node while the judge sleeps: {host:.0f} GiB")
    if plan.wrong:
        return "\n".join([*lines, "", f"IT DOES NOT FIT: {', '.join(plan.wrong)}"]), False
    return "\n".join([*lines, "", *_settings_and_time(arguments, plan), "", "it fits"]), True


def _gpus(number: int) -> str:
    return f"{number} GPU{'s' * (number > 1)}"


def _said(phase: Phase) -> list[str]:
    head = f"{phase.name:9}{phase.total / GIB:7.1f} of {USABLE * phase.memory / GIB:.1f} GiB a GPU"
    verdict = "" if phase.fits else "  DOES NOT FIT"
    return [head + verdict, *(f"  {name:26}{size / GIB:7.1f}" for name, size in phase.parts.items())]


def estimate(arguments: argparse.Namespace, plan: Plan) -> Estimate:
    """Times of a plan that fits, by the roofline of `_sizing`."""
    judge, load, chip, replicas = plan.judge, plan.load, plan.theirs.chip, plan.replicas
    room = sizing.sequences_at_once(judge, load, chip, plan.width, plan.utilization("judging"))
    concurrency = arguments.concurrency or replicas * room
    sequences = max(1, min(room, math.ceil(load.calls / replicas), concurrency // replicas))
    measured = arguments.tokens_per_second
    rate = measured or sizing.decode_rate(judge, load, chip, plan.width, sequences)
    prefill = sizing.prefill_rate(judge, chip, plan.width)
    return Estimate(
        room,
        concurrency,
        sequences,
        rate,
        prefill,
        measured is not None,
        decoding=load.calls * load.thought_tokens / (rate * replicas),
        reading=load.calls * load.prompt_tokens / (prefill * replicas),
        longest=load.judge_tokens * sequences / rate,
    )


def _settings_and_time(arguments: argparse.Namespace, plan: Plan) -> list[str]:
    load, found = plan.load, estimate(arguments, plan)
    rollout, judging = (phase.utilization for phase in plan.phases[:2])
    fills = f"{plan.replicas * found.room} fills {plan.replicas} x {found.room}"
    source = (
        "measured" if found.measured else f"assumed: {sizing.DECODE_EFFICIENCY:.0%} of the memory bandwidth"
    )
    return [
        f"set gpu_memory_utilization {plan.utilization('judging'):.2f} for the judge "
        f"({judging[0]:.2f} to {judging[1]:.2f} fits)",
        f"set gpu_memory_utilization {plan.utilization('rollout'):.2f} for the rollout "
        f"({rollout[0]:.2f} to {rollout[1]:.2f} fits)",
        f"set arena.concurrency {found.concurrency} ({fills})",
        "",
        f"a step: {load.prompts} groups of {load.rollouts}, {arguments.tournament}: {load.calls} calls of "
        f"{load.prompt_tokens} + {load.thought_tokens} tokens",
        f"a replica decodes {found.rate:.0f} tokens/s, {found.sequences} at once ({source})",
        f"and reads {found.prefill:.0f} tokens/s (assumed: {sizing.PREFILL_EFFICIENCY:.0%} of the bf16 rate, nothing "
        "cached)",
        f"an answer of {load.judge_tokens} tokens takes {found.longest:.0f} s (judge.timeout is longer than that)",
        f"judging takes {found.decoding:.0f} + {found.reading:.0f} s; rounds of a tournament that wait for each other "
        "come on top",
    ]


def main(arguments: Any) -> int:
    """Print the report; 1 if something does not fit."""
    text, fits = report(arguments)
    print(text)
    return int(not fits)
