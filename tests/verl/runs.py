"""A whole verl run against a judge in a process of its own, and what it left behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recipes.miniature.verl_cpu.launch import ROOT, CPURun
from tests.support.ports import free_port
from tests.verl.assets import Assets

STEPS, PROMPTS_A_STEP, ROLLOUTS = 2, 4, 4
PATIENCE = 1500
"""Seconds for a whole run on a loaded machine; a sibling that is waited for in vain would take `MEMBER_TIMEOUT`."""

MEMBER_TIMEOUT = 3600
REWARD_MANAGER = [
    "reward.reward_manager.source=importlib",
    "reward.reward_manager.name=RRMRewardManager",
    "reward.reward_manager.module.path=pkg://rrm_reward.integrations.verl.reward_manager",
]
AGENT_LOOP = [
    "+actor_rollout_ref.rollout.agent.agent_loop_manager_class="
    "rrm_reward.integrations.verl.agent_loop.RRMAgentLoopManager",
]


class JudgeProcess:
    """`tests.support.loopback_judge` as its own process, so that it can be killed."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments
        self._port = str(free_port())  # nobody gets it while the judge is away
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self) -> None:
        """Serve; after `kill` on the same port again."""
        command = [
            sys.executable,
            "-m",
            "tests.support.loopback_judge",
            "--port",
            self._port,
            *self._arguments,
        ]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url.startswith("http://127.0.0.1:"), "the judge did not start"

    def kill(self) -> None:
        """As the kernel would: no goodbye to anyone."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def __enter__(self) -> JudgeProcess:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()


@dataclass
class TrainerRun:
    """A run that is going on, or is over.

    Attributes:
        code: exit code, None while it runs.
        seconds: wall time.
    """

    cpu: CPURun
    samples_file: Path
    process: subprocess.Popen[bytes] = field(repr=False)
    code: int | None = None
    seconds: float = 0.0

    def wait(self) -> None:
        """Until it is over."""
        began = time.monotonic()
        self.code = self.process.wait(PATIENCE)
        self.seconds = time.monotonic() - began

    def samples(self) -> list[dict[str, Any]]:
        """What the hub wrote about every training sample."""
        if not self.samples_file.exists():
            return []
        return [json.loads(line) for line in self.samples_file.read_text().splitlines()]

    def groups(self) -> dict[str, list[dict[str, Any]]]:
        """The samples by group."""
        groups = defaultdict(list)
        for sample in self.samples():
            groups[sample["group"]].append(sample)
        return dict(groups)

    def step_metrics(self) -> list[dict[str, Any]]:
        """verl's metrics of every training step, in order."""
        return [row["data"] for row in self.cpu.metrics() if "actor/grad_norm" in row["data"]]

    def validations(self) -> list[dict[str, Any]]:
        """verl's metrics of every validation."""
        return [
            row["data"] for row in self.cpu.metrics() if any(key.startswith("val-") for key in row["data"])
        ]

    def tail(self) -> str:
        """The end of the log, for a test that fails."""
        return "\n".join(self.cpu.log.read_text(errors="replace").splitlines()[-60:])


@contextmanager
def trainer_run(
    folder: Path,
    assets: Assets,
    judge: JudgeProcess,
    route: list[str],
    *overrides: str,
    python: Path = Path(sys.executable),
    steps: int = STEPS,
) -> Iterator[TrainerRun]:
    """Start ``verl.trainer.main_ppo``; it is ended on leaving."""
    cpu = CPURun(
        folder,
        assets.model,
        assets.tokenizer,
        assets.train,
        assets.val,
        steps=steps,
        prompts=PROMPTS_A_STEP,
        rollouts=ROLLOUTS,
        validate_every=steps,
        python=python,
    )
    samples = folder / "samples.jsonl"
    settings = [
        *route,
        f'+rrm.judge.urls=["{judge.url}"]',
        "+rrm.judge.model=RRM-7B",
        "+rrm.judge.timeout=120",
        f"+rrm.assembler.member_timeout={MEMBER_TIMEOUT}",
        f"+rrm_verl.log={samples}",
        # siblings shall meet across processes
        "reward.num_workers=2",
        *overrides,
    ]
    with cpu.start(settings) as process:
        yield TrainerRun(cpu, samples, process)
