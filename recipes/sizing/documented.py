"""The runs that ``recipes/{rocm,cuda}/README.md`` tell users to start, as composed configs and as sizing commands."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from omegaconf import DictConfig

from rrm_reward.cluster._size_options import parse
from rrm_reward.integrations.verl.check import check_config, compose_config

ROOT = Path(__file__).parents[2]
CHIPS = {"rocm": "MI300X", "cuda": "H100"}
"""The GPU of each vendor's recipes, of which a node has eight."""


@dataclass(frozen=True)
class Run:
    """A run as documented.

    Attributes:
        vendor: the folder.
        line: the command, from the root.
        config: what verl would be started with.
    """

    vendor: str
    line: str
    config: DictConfig

    @property
    def variant(self) -> str:
        """colocated, pool or two_nodes."""
        return self.line.split()[1]

    @cached_property
    def size(self) -> list[str]:
        """Arguments of ``rrm-reward size`` that describe it; what is its default is left out."""
        return size_arguments(self.config, CHIPS[self.vendor])


@cache
def documented_runs() -> tuple[Run, ...]:
    """Every run of both pages, composed (seconds each)."""
    runs = []
    for vendor in CHIPS:
        page = (ROOT / f"recipes/{vendor}/README.md").read_text()
        for found in re.findall(rf"(recipes/{vendor}/run\.sh [^`#\n]+)", page):
            line = found.strip()
            folder, name, overrides = script_arguments(line)
            runs.append(Run(vendor, line, _composed(folder.resolve(), name, tuple(overrides))))
    return tuple(runs)


@cache
def _composed(folder: Path, name: str, overrides: tuple[str, ...]) -> DictConfig:
    """Both vendors' scripts come to the same config where nothing else is given."""
    return compose_config(folder, name, overrides)


def script_arguments(line: str) -> tuple[Path, str, list[str]]:
    """Folder, name and overrides of the config with which a script would start Python; caught where it would."""
    with tempfile.TemporaryDirectory() as folder:
        caught = Path(folder) / "arguments"
        for name in ("python3", "rrm-reward"):
            stub = Path(folder) / name
            stub.write_text(f'#!/bin/sh\nfor a in "$@"; do echo "$a"; done > {caught}\n')
            stub.chmod(0o755)
        environment = {"PATH": f"{folder}:/usr/bin:/bin", "CHECK_ONLY": "1"}
        subprocess.run(["bash", *line.split()], env=environment, check=True, cwd=ROOT)
        arguments = caught.read_text().splitlines()
    if arguments[:2] != ["-m", "rrm_reward.integrations.verl.check"]:
        raise ValueError(f"{line} starts {arguments}")
    path, name = (argument.partition("=")[2] for argument in arguments[2:4])
    return Path(path), name, arguments[4:]


def size_arguments(config: DictConfig, chip: str) -> list[str]:
    """Arguments of ``rrm-reward size`` for a composed config on one kind of GPU, nodes of eight."""
    rrm = check_config(config).rrm
    policy, cluster = config.actor_rollout_ref, rrm.judge.cluster
    shared = cluster.share < 1
    given = {
        "policy": Path(policy.model.path).name,
        "judge": Path(rrm.judge.model).name,
        "gpus": _machines(config.trainer.nnodes, config.trainer.n_gpus_per_node, chip),
        "judge_gpus": None
        if shared
        else _machines(*_nodes(cluster.replicas * cluster.tensor_parallel), chip),
        "tensor_parallel": cluster.tensor_parallel,
        "rollout_parallel": policy.rollout.tensor_model_parallel_size,
        "utilization": cluster.engine_args["gpu_memory_utilization"],
        "rollout_utilization": policy.rollout.gpu_memory_utilization,
        "concurrency": rrm.arena.concurrency,
        "prompts": config.data.train_batch_size,
        "rollouts": policy.rollout.n,
        "tournament": rrm.tournament.name,
        "votes": rrm.judge.votes * (2 if rrm.judge.order == "both" else 1),
        "response_tokens": config.data.max_response_length,
        "judge_tokens": rrm.judge.max_tokens,
        "train_tokens": policy.actor.ppo_max_token_len_per_gpu,
        "sleep": cluster.sleep or None,
    }
    defaults = vars(parse([]))
    arguments: list[str] = []
    for name, value in given.items():
        if value not in (None, defaults[name]) or name == "gpus":
            arguments += [f"--{name.replace('_', '-')}", str(value)]
    return arguments


def _nodes(gpus: int) -> tuple[int, int]:
    return max(1, gpus // 8), min(gpus, 8)


def _machines(nodes: int, gpus: int, chip: str) -> str:
    return f"{f'{nodes}x' if nodes > 1 else ''}{gpus}x{chip}"
