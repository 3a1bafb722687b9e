"""``rrm-reward size``: whether policy and judge fit on some GPUs, and how long judging a step takes."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rrm_reward.cluster import _sizing as sizing
from rrm_reward.cluster._sizing import GB, USABLE, Chip, Load, Phase, Shape
from rrm_reward.errors import ConfigError
from rrm_reward.tournament import make_tournament
from rrm_reward.types import Outcome


@dataclass(frozen=True, slots=True)
class Machines:
    """GPUs of one kind: ``2x8xMI300X`` is two nodes of eight, ``8xMI300X`` one."""

    nodes: int
    gpus: int
    name: str
    chip: Chip

    @classmethod
    def parse(cls, text: str, option: str) -> Machines:
        """From the command line.

        Raises:
            ConfigError: not of that form, or an unknown GPU.
        """
        match = re.fullmatch(r"(?:(\d+)x)?(\d+)x([A-Za-z]\w*)", text)
        known = {name.lower(): name for name in sizing.CHIPS}
        if match is None or match[3].lower() not in known or "0" in (match[1], match[2]):
            fix = (
                f"write NUMBERxGPU or NODESxNUMBERxGPU, for example 8xMI300X; GPUs: {', '.join(sizing.CHIPS)}"
            )
            raise ConfigError(option, text, fix)
        name = known[match[3].lower()]
        return cls(int(match[1] or 1), int(match[2]), name, sizing.CHIPS[name])

    @property
    def total(self) -> int:
        """GPUs of all nodes."""
        return self.nodes * self.gpus

    def __str__(self) -> str:
        return f"{f'{self.nodes} x ' if self.nodes > 1 else ''}{self.gpus} x {self.name}"


def shape_of(name: str, option: str) -> Shape:
    """A model's shape by its size.

    Raises:
        ConfigError: an unknown size.
    """
    for known, shape in sizing.SHAPES.items():
        if name.upper().endswith(known):
            return shape
    raise ConfigError(option, name, f"choose one of {', '.join(sizing.SHAPES)}")


def count_comparisons(name: str, n: int) -> int:
    """Matches of one group; of schedules that follow the verdicts, if the smaller index always wins."""
    tournament = make_tournament(name, n, seed=0)
    for member in range(n):
        tournament.add(member)
    while ready := tournament.ready():
        for match in ready:
            tournament.record(Outcome(match.i, match.j, float(match.i < match.j), round=match.round))
    return len(tournament.outcomes)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add = parser.add_argument
    sizes = ", ".join(sizing.SHAPES)
    add("--policy", default="7B", metavar="SIZE", help=f"of the policy: {sizes} (%(default)s)")
    add("--judge", default="7B", metavar="SIZE", help=f"of the RRM: {sizes} (%(default)s)")
    add("--gpus", default="8xMI300X", metavar="[NODESx]NxGPU", help="of the policy (%(default)s)")
    add("--judge-gpus", metavar="[NODESx]NxGPU", help="of the judge; without them it shares the policy's")
    add("--prompts", type=int, default=128, metavar="N", help="groups of a step (%(default)s)")
    add("--rollouts", type=int, default=16, metavar="N", help="members of a group (%(default)s)")
    add("--tournament", default="knockout", metavar="NAME", help="schedule (%(default)s)")
    add("--votes", type=int, default=1, metavar="N", help="judge calls of a comparison (%(default)s)")
    add("--response-tokens", type=int, default=8192, metavar="N", help="longest response (%(default)s)")
    add("--shown-tokens", type=int, default=1024, metavar="N", help="of it that the judge sees (%(default)s)")
    add("--thought-tokens", type=int, default=2048, metavar="N", help="a judge's mean answer (%(default)s)")
    add("--judge-tokens", type=int, default=8192, metavar="N", help="its longest answer (%(default)s)")
    add("--train-tokens", type=int, default=16384, metavar="N", help="of one training pass (%(default)s)")
    add(
        "--sleep", type=int, default=1, choices=(1, 2), help="level of a judge that shares GPUs (%(default)s)"
    )
    add("--tokens-per-second", type=float, metavar="N", help="one judge replica decodes, as measured")


def report(arguments: argparse.Namespace) -> tuple[str, bool]:
    """What is printed, and whether all of it fits.

    Raises:
        ConfigError: a size, a GPU or a number that cannot be.
    """
    policy, judge = shape_of(arguments.policy, "--policy"), shape_of(arguments.judge, "--judge")
    machines = Machines.parse(arguments.gpus, "--gpus")
    shared = arguments.judge_gpus is None
    theirs = machines if shared else Machines.parse(arguments.judge_gpus, "--judge-gpus")
    load = _load(arguments)
    beside = sizing.STATE_BYTES * policy.parameters / machines.total if shared else 0.0
    width = sizing.smallest_width(judge, load, theirs.chip, theirs.gpus, beside)
    rollout_width = _rollout_width(policy, load, machines)
    phases = sizing.training_phases(policy, load, machines.total, machines.chip, rollout_width)
    phases.insert(1, sizing.judging_phase(judge, load, theirs.chip, width, beside))
    where = (
        f"on the policy's GPUs, asleep at level {arguments.sleep} while it trains"
        if shared
        else f"on {theirs}"
    )
    replicas = theirs.nodes * (theirs.gpus // width)
    lines = [
        f"policy {policy.parameters / 1e9:.1f}e9 parameters on {machines}, "
        f"rollout engines of {rollout_width} GPU{'s' * (rollout_width > 1)}",
        f"judge  {judge.parameters / 1e9:.1f}e9 parameters {where}: "
        f"{replicas} replica{'s' * (replicas > 1)} of {width} GPU{'s' * (width > 1)}",
        "",
        *(line for phase in phases for line in _said(phase)),
    ]
    if shared and arguments.sleep == 1:
        host = replicas // theirs.nodes * judge.weight_bytes / GB
        lines.append(f"host memory of a node while the judge sleeps: {host:.0f} GB")
    lines += ["", *_time(arguments, judge, load, theirs, width, replicas, beside)]
    fits = all(phase.fits for phase in phases)
    lines += [
        "",
        "it fits" if fits else f"IT DOES NOT FIT: {', '.join(p.name for p in phases if not p.fits)}",
    ]
    return "\n".join(lines), fits


def _load(arguments: argparse.Namespace) -> Load:
    numbers = {key: value for key, value in vars(arguments).items() if isinstance(value, int | float)}
    for key, value in numbers.items():
        if not 0 < value < math.inf:
            raise ConfigError(f"--{key.replace('_', '-')}", value, "must be positive and finite")
    comparisons = count_comparisons(arguments.tournament, arguments.rollouts)
    return Load(
        arguments.prompts,
        arguments.rollouts,
        arguments.response_tokens,
        min(arguments.shown_tokens, arguments.response_tokens),
        min(arguments.thought_tokens, arguments.judge_tokens),
        arguments.judge_tokens,
        arguments.train_tokens,
        calls=arguments.prompts * comparisons * arguments.votes,
    )


def _rollout_width(policy: Shape, load: Load, machines: Machines) -> int:
    width = 1
    while 2 * width <= min(machines.gpus, 8):
        rollout, _ = sizing.training_phases(policy, load, machines.total, machines.chip, width)
        if rollout.fits:
            break
        width *= 2
    return width


def _said(phase: Phase) -> list[str]:
    head = f"{phase.name:9}{phase.total / GB:7.1f} of {USABLE * phase.memory / GB:.0f} GB a GPU"
    verdict = "" if phase.fits else "  DOES NOT FIT"
    return [head + verdict, *(f"  {name:26}{size / GB:7.1f}" for name, size in phase.parts.items())]


def _time(
    arguments: argparse.Namespace,
    judge: Shape,
    load: Load,
    machines: Machines,
    width: int,
    replicas: int,
    beside: float,
) -> list[str]:
    sequences = sizing.sequences_at_once(judge, load, machines.chip, width, beside)
    rate = arguments.tokens_per_second
    source = "measured"
    if rate is None:
        sequences = min(sequences, max(1, math.ceil(load.calls / replicas)))
        rate = sizing.decode_rate(judge, load, machines.chip, width, sequences)
        source = f"assumed: {sequences} at once, {sizing.DECODE_EFFICIENCY:.0%} of the memory bandwidth"
    prefill = sizing.prefill_rate(judge, machines.chip, width)
    decoding = load.calls * load.thought_tokens / (rate * replicas)
    reading = load.calls * load.prompt_tokens / (prefill * replicas)
    return [
        f"a step: {load.prompts} groups of {load.rollouts}, {arguments.tournament}: {load.calls} calls of "
        f"{load.prompt_tokens} + {load.thought_tokens} tokens",
        f"a replica decodes {rate:.0f} tokens/s ({source})",
        f"and reads {prefill:.0f} tokens/s (assumed: {sizing.PREFILL_EFFICIENCY:.0%} of the bf16 rate, nothing cached)",
        f"judging takes {decoding:.0f} + {reading:.0f} s; rounds of a tournament that wait for each other, and the "
        "longest thoughts, come on top",
    ]


def main(arguments: Any) -> int:
    """Print the report; 1 if something does not fit."""
    text, fits = report(arguments)
    print(text)
    return int(not fits)


def parse(command: Sequence[str]) -> argparse.Namespace:
    """The options of a command line without the program's name; the docs' figures are checked with it."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(command)
