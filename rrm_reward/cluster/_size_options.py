"""The options of ``rrm-reward size``, read into what `_sizing` counts with."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rrm_reward.cluster._shapes import CHIPS, MODELS, SHAPES, Chip, Shape
from rrm_reward.cluster._sizing import Load
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
        known = {name.lower(): name for name in CHIPS}
        if match is None or match[3].lower() not in known or "0" in (match[1], match[2]):
            fix = f"write NUMBERxGPU or NODESxNUMBERxGPU, for example 8xMI300X; GPUs: {', '.join(CHIPS)}"
            raise ConfigError(option, text, fix)
        name = known[match[3].lower()]
        return cls(int(match[1] or 1), int(match[2]), name, CHIPS[name])

    @property
    def total(self) -> int:
        """GPUs of all nodes."""
        return self.nodes * self.gpus

    def __str__(self) -> str:
        return f"{f'{self.nodes} x ' if self.nodes > 1 else ''}{self.gpus} x {self.name}"


def shape_of(name: str, option: str) -> Shape:
    """A model's shape by its size, or by its name with or without the owner.

    Raises:
        ConfigError: a model whose shape is not known.
    """
    known = {model.lower(): shape for model, shape in MODELS.items()}
    shape = known.get(name.rpartition("/")[2].lower())
    if shape is None:
        fix = f"its shape is not known here; known are R1-Distill-Qwen and RRMs of {', '.join(SHAPES)}"
        raise ConfigError(option, name, fix)
    return shape


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
    """Options of the command; the defaults are the step of ``recipes/verl``."""
    add = parser.add_argument
    sizes = ", ".join(SHAPES)
    add("--policy", default="7B", metavar="MODEL", help=f"the policy: {sizes}, or a name (%(default)s)")
    add("--judge", default="7B", metavar="MODEL", help=f"the RRM: {sizes}, or a name (%(default)s)")
    add("--gpus", default="8xMI300X", metavar="[NODESx]NxGPU", help="of the policy (%(default)s)")
    add("--judge-gpus", metavar="[NODESx]NxGPU", help="of the judge; without them it shares the policy's")
    add("--tensor-parallel", type=int, metavar="N", help="GPUs of a judge replica (the fewest that fit)")
    add("--rollout-parallel", type=int, metavar="N", help="GPUs of a rollout engine (the fewest that fit)")
    add(
        "--utilization",
        type=float,
        metavar="F",
        help="the judge's gpu_memory_utilization (the most that fits)",
    )
    add("--rollout-utilization", type=float, metavar="F", help="that of the rollout engine (likewise)")
    add("--concurrency", type=int, metavar="N", help="arena.concurrency (what fills the judge)")
    add("--prompts", type=int, default=128, metavar="N", help="groups of a step (%(default)s)")
    add("--rollouts", type=int, default=8, metavar="N", help="members of a group (%(default)s)")
    add("--tournament", default="round_robin", metavar="NAME", help="schedule (%(default)s)")
    add("--votes", type=int, default=1, metavar="N", help="judge calls of a comparison (%(default)s)")
    add("--response-tokens", type=int, default=8192, metavar="N", help="longest response (%(default)s)")
    add("--shown-tokens", type=int, default=1024, metavar="N", help="of it that the judge sees (%(default)s)")
    add("--thought-tokens", type=int, default=2048, metavar="N", help="a judge's mean answer (%(default)s)")
    add("--judge-tokens", type=int, default=8192, metavar="N", help="its longest answer (%(default)s)")
    add("--train-tokens", type=int, default=24576, metavar="N", help="of one training pass (%(default)s)")
    add(
        "--sleep", type=int, default=1, choices=(1, 2), help="level of a judge that shares GPUs (%(default)s)"
    )
    add("--tokens-per-second", type=float, metavar="N", help="one judge replica decodes, as measured")


def read_load(arguments: argparse.Namespace) -> Load:
    """A step, from the command line.

    Raises:
        ConfigError: a number that cannot be.
    """
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


def parse(command: Sequence[str]) -> argparse.Namespace:
    """The options of a command line without the program's name."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(command)
