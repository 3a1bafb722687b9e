"""A whole run of ``openrlhf.cli.train_ppo_ray`` on a CPU, and what it left behind."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.openrlhf.assets import Assets
from tests.openrlhf.environment import PYTHON, ROOT, environment

PROMPTS_A_STEP, ROLLOUTS = 4, 4
PATIENCE = 1500
"""Seconds for a whole run on a loaded machine."""

_STEP = re.compile(r"Global step (\d+): (\{[^}]*\})")
_OF_AN_ACTOR = re.compile(r"^\S*(\(\w+ pid=\d+\))\S* (?!.*(?:it/s|s/it))(.*)$", re.MULTILINE)
_ON_CPU = {
    "RRM_TEST_OPENRLHF_ON_CPU": "1",
    "DS_ACCELERATOR": "cpu",
    # so that Ray's workers without a GPU, as the judge's client, still see the environment's accelerators
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "WANDB_MODE": "disabled",
    "RAY_DEDUP_LOGS": "0",
    # by default Ray puts its workers behind everything else that runs on the machine
    "RAY_worker_niceness": "0",
}


def arguments(folder: Path, assets: Assets) -> list[str]:
    """Of ``train_ppo_ray``: what is trained, then what a CPU needs."""
    return [
        f"--actor.model_name_or_path={assets.model}",
        f"--data.prompt_dataset={assets.prompts}",
        "--data.input_key=input",
        "--data.apply_chat_template",
        "--data.max_len=192",
        "--rollout.max_new_tokens=16",
        f"--rollout.n_samples_per_prompt={ROLLOUTS}",
        f"--rollout.batch_size={PROMPTS_A_STEP}",
        f"--rollout.micro_batch_size={ROLLOUTS}",
        f"--train.batch_size={PROMPTS_A_STEP * ROLLOUTS}",
        f"--train.micro_batch_size={ROLLOUTS}",
        "--train.num_episodes=1",
        "--actor.adam.lr=1e-3",
        "--algo.advantage.estimator=group_norm",
        f"--ckpt.output_dir={folder}/out",
        f"--ckpt.path={folder}/ckpt",
        # no reference model, so one actor less to start
        "--algo.kl.init_coef=0",
        *(
            "--actor.num_nodes=1",
            "--actor.num_gpus_per_node=1",
            "--ref.num_nodes=1",
            "--ref.num_gpus_per_node=1",
        ),
        *("--vllm.num_engines=1", "--vllm.tensor_parallel_size=1", "--vllm.enforce_eager"),
        "--vllm.sync_backend=gloo",
        *("--ds.attn_implementation=eager", "--ds.zero_stage=2", "--ds.param_dtype=bf16"),
    ]


@dataclass(frozen=True)
class Run:
    """A run that is over.

    Attributes:
        folder: of its log and samples.
        code: exit code.
    """

    folder: Path
    code: int

    def samples(self) -> list[dict[str, Any]]:
        """What the executor wrote about every sample."""
        return [json.loads(line) for line in (self.folder / "samples.jsonl").read_text().splitlines()]

    def groups(self) -> dict[str, list[dict[str, Any]]]:
        """The samples by group."""
        groups = defaultdict(list)
        for sample in self.samples():
            groups[sample["group"]].append(sample)
        return dict(groups)

    def steps(self) -> list[dict[str, float]]:
        """OpenRLHF's own metrics of every step, in order."""
        # Ray may print a long line in two, with those of other actors in between, and break even a number
        said: dict[str, str] = defaultdict(str)
        for actor, line in _OF_AN_ACTOR.findall((self.folder / "log.txt").read_text(errors="replace")):
            said[actor] += line
        found = {}
        for number, metrics in (step for log in said.values() for step in _STEP.findall(log)):
            found[int(number)] = eval(metrics, {"nan": math.nan, "inf": math.inf, "__builtins__": {}})
        return [found[number] for number in sorted(found)]

    def evaluations(self) -> int:
        """How often OpenRLHF evaluated."""
        return (self.folder / "log.txt").read_text(errors="replace").count("Evaluation completed")

    def tail(self) -> str:
        """The end of the log, for a test that fails."""
        return "\n".join((self.folder / "log.txt").read_text(errors="replace").splitlines()[-60:])


def train(folder: Path, assets: Assets, judge: str, *further: str, openrlhf: str = "") -> Run:
    """Run to the end.

    Args:
        folder: for everything that the run writes.
        assets: what it trains on.
        judge: which, where and how patient one is with it: settings of the node ``rrm.judge``.
        further: arguments of ``train_ppo_ray``.
        openrlhf: further settings of the node ``rrm_openrlhf``, each ending in a comma.
    """
    folder.mkdir(exist_ok=True)
    (folder / "rrm.yaml").write_text(
        f"rrm:\n  judge: {{{judge}, retries: 0, reasks: 0}}\n"
        f"rrm_openrlhf: {{{openrlhf} log: {folder}/samples.jsonl}}\n"
    )
    # a copy of the recipe's agent file, with its settings beside it, as a user has them
    agent = folder / "rrm_agent.py"
    agent.write_text((ROOT / "recipes/openrlhf/rrm_agent.py").read_text().replace("webinstruct_rrm", "rrm"))
    with _ray_folder() as ray_folder, (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [
                *(PYTHON, "-m", "tests.openrlhf.cpu.launch", ray_folder, *arguments(folder, assets)),
                *(f"--train.agent_func_path={agent}", *further),
            ],
            cwd=folder,
            env=environment(ROOT / "tests/openrlhf/cpu", **_ON_CPU),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(PATIENCE)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return Run(folder, code)


@contextmanager
def _ray_folder() -> Iterator[str]:
    """Ray's sockets live here, and the path of a socket has 107 characters at most."""
    folder = tempfile.mkdtemp(prefix="rrm-ray-", dir="/tmp")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
