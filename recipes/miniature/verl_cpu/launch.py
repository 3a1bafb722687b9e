"""The command line and the environment of a verl run on a CPU.

    run = CPURun(folder, model=..., tokenizer=..., train=..., val=..., prompts=8, rollouts=8, steps=50)
    with run.start(overrides=["rrm.judge.model=RRM-7B", ...]) as process:
        code = process.wait(timeout=300)
    run.metrics()      # one dictionary per logged step, as verl's own file logger wrote them

`main_ppo` is started as a user would start it. `CPURun.overrides` holds every setting that differs from verl's
defaults, each with its reason.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
"""The project's folder, from which ``recipes`` and ``tests`` are imported."""

_METRICS = "metrics.jsonl"
_MODULES = ("recipes.miniature.verl_cpu.plugin", "rrm_reward.integrations.verl.advantage")


@dataclass(frozen=True)
class CPURun:
    """One run of ``verl.trainer.main_ppo``.

    Attributes:
        folder: receives the log, metrics and checkpoints; made if need be.
        model: folder of the policy.
        tokenizer: folder of its tokenizer. Best one without a ``config.json``: transformers 5 loads the tokenizer
            class that a model config names, and silently drops a custom pre-tokenizer.
        train, val: parquet files of verl rows.
        steps: training steps.
        prompts: groups of a step.
        rollouts: members of a group.
        prompt_tokens, response_tokens: limits.
        learning_rate: of AdamW, constant.
        validate_every: steps between validations; 0 for none, not even before training.
        seed: of the order of the data and of sampling.
        python: the interpreter whose verl runs, 0.8 or 0.9.
        modules: that verl imports in every process of the run, beside the one that makes it run on a CPU.
    """

    folder: Path
    model: Path
    tokenizer: Path
    train: Path
    val: Path
    steps: int = 2
    prompts: int = 4
    rollouts: int = 4
    prompt_tokens: int = 64
    response_tokens: int = 16
    learning_rate: float = 1e-3
    validate_every: int = 0
    seed: int = 0
    python: Path = Path(sys.executable)
    modules: tuple[str, ...] = ()

    @property
    def log(self) -> Path:
        """Everything the run printed."""
        return self.folder / "log.txt"

    def verl_version(self) -> str:
        """Of the interpreter's verl, for example ``0.9.1``."""
        code = "import importlib.metadata as m; print(m.version('verl'))"
        return subprocess.run(
            [self.python, "-c", code], check=True, capture_output=True, text=True
        ).stdout.strip()

    def overrides(self, version: str) -> list[str]:
        """Settings for a verl of this version."""
        settings = [
            *self._task(),
            *self._cpu(),
            *self._logging(),
        ]
        return settings + (self._verl08() if version.startswith("0.8") else self._verl09())

    def _task(self) -> list[str]:
        """What is trained."""
        return [
            "algorithm.adv_estimator=grpo",
            f"data.train_files={self.train}",
            f"data.val_files={self.val}",
            f"data.train_batch_size={self.prompts}",
            f"data.max_prompt_length={self.prompt_tokens}",
            f"data.max_response_length={self.response_tokens}",
            f"data.seed={self.seed}",
            f"actor_rollout_ref.model.path={self.model}",
            f"actor_rollout_ref.model.tokenizer_path={self.tokenizer}",
            f"actor_rollout_ref.rollout.n={self.rollouts}",
            f"actor_rollout_ref.actor.ppo_mini_batch_size={self.prompts}",
            f"actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu={self.prompts * self.rollouts}",
            f"actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu={self.prompts * self.rollouts}",
            f"actor_rollout_ref.actor.optim.lr={self.learning_rate}",
            "actor_rollout_ref.actor.use_kl_loss=False",
            f"trainer.total_training_steps={self.steps}",
            f"trainer.total_epochs={self.steps}",
            f"trainer.test_freq={self.validate_every or -1}",
            f"trainer.val_before_train={self.validate_every > 0}",
        ]

    def _cpu(self) -> list[str]:
        """What a CPU needs."""
        return [
            "trainer.device=cpu",
            "trainer.n_gpus_per_node=1",
            "trainer.nnodes=1",
            "actor_rollout_ref.rollout.name=transformers_cpu",
            "actor_rollout_ref.rollout.tensor_model_parallel_size=1",
            # one process holds rollouts of all groups anyway; more cost memory and start-up time
            "actor_rollout_ref.rollout.agent.num_workers=1",
            "reward.num_workers=1",
            # there is no GPU memory to free between rollout and training
            "actor_rollout_ref.rollout.free_cache_engine=False",
            "actor_rollout_ref.rollout.calculate_log_probs=True",
            "actor_rollout_ref.actor.strategy=fsdp2",
            # kernels that need a GPU
            "actor_rollout_ref.model.use_remove_padding=False",
            "actor_rollout_ref.model.enable_gradient_checkpointing=False",
            "+actor_rollout_ref.model.override_config.attn_implementation=sdpa",
            "actor_rollout_ref.actor.use_torch_compile=False",
            "actor_rollout_ref.actor.fsdp_config.use_torch_compile=False",
            # bf16 is emulated on a CPU: slower, and the policy drifts from its rollouts
            "+actor_rollout_ref.actor.fsdp_config.mixed_precision="
            "{param_dtype:fp32,reduce_dtype:fp32,buffer_dtype:fp32}",
            "data.dataloader_num_workers=0",
            "data.filter_overlong_prompts=False",
            # logical CPUs: verl's actors ask for one each, however many there are
            "ray_kwargs.ray_init.num_cpus=8",
            "+ray_kwargs.ray_init.num_gpus=1",
            "+ray_kwargs.ray_init.include_dashboard=False",
        ]

    def _logging(self) -> list[str]:
        return [
            "trainer.logger=[console,file]",
            "trainer.project_name=rrm",
            "trainer.experiment_name=cpu",
            f"trainer.default_local_dir={self.folder}/checkpoints",
            "trainer.save_freq=-1",
            "trainer.resume_mode=disable",
        ]

    def _verl09(self) -> list[str]:
        return [
            "trainer.v1.sampler.custom_sampler.path=pkg://recipes.miniature.verl_cpu.replay",
            "trainer.v1.sampler.custom_sampler.name=QuickReplayBuffer",
            "transfer_queue.backend.SimpleStorage.num_data_storage_units=1",
        ]

    def _verl08(self) -> list[str]:
        # verl 0.8 counts GPUs, and then asks Ray for a resource named after the device
        return ["+ray_kwargs.ray_init.resources={cpu: 4}"]

    def environment(self, ray_folder: Path) -> dict[str, str]:
        """Of the driver; Ray hands it on to the workers."""
        inherited = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {
            **inherited,
            "PYTHONPATH": os.pathsep.join(paths),
            "VERL_USE_EXTERNAL_MODULES": ",".join((*_MODULES, *self.modules)),
            "VERL_PLATFORM": "cpu",
            # verl 0.9 registers its FSDP engine for named devices only; "cuda" is the one written in plain torch
            "VERL_ENGINE_DEVICE": "cuda",
            "VERL_FILE_LOGGER_PATH": str(self.folder / _METRICS),
            "RAY_TMPDIR": str(ray_folder),
            "RAY_AUTH_MODE": "disabled",
            "RAY_DEDUP_LOGS": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            # the operating system's killer is enough on one machine; Ray's would count our neighbours' memory too
            "RAY_memory_monitor_refresh_ms": "0",
            # idle workers for every logical CPU would start up beside those that are needed
            "RAY_prestart_worker_first_driver": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            # with few cores TransferQueue warns at every operation (18,000 lines in a run of 100 s)
            "TQ_NUM_THREADS": "2",
            # its own 30 s are little where everything starts at once on few cores
            "TQ_STORAGE_HANDSHAKE_TIMEOUT": "300",
            "TQ_DATA_UPDATE_RESPONSE_TIMEOUT": "300",
            "TQ_LOGGING_LEVEL": "ERROR",
            "HYDRA_FULL_ERROR": "1",
        }

    @contextmanager
    def start(self, overrides: Sequence[str] = ()) -> Iterator[subprocess.Popen[bytes]]:
        """The running process; what is still running on leaving is ended, Ray included.

        Args:
            overrides: hydra overrides, the last of a key wins.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        # Ray's sockets live here, and the path of a socket has 107 characters at most
        ray_folder = Path(tempfile.mkdtemp(prefix="rrm-ray-", dir="/tmp"))
        settings = [*self.overrides(self.verl_version()), f"hydra.run.dir={self.folder}/hydra", *overrides]
        command = [str(self.python), "-m", "verl.trainer.main_ppo", *settings]
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment(ray_folder),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            _end(process)
            shutil.rmtree(ray_folder, ignore_errors=True)

    def metrics(self) -> list[dict[str, Any]]:
        """What verl's file logger wrote: ``{"step": ..., "data": {...}}``, validation before training first."""
        file = self.folder / _METRICS
        if not file.exists():
            return []
        return [json.loads(line) for line in file.read_text().splitlines()]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the run and the Ray processes it started; they share its session."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
