"""Starts ``openrlhf.cli.train_ppo_ray`` in a small Ray that believes in three GPUs: to train, roll out and judge.

python -m tests.openrlhf.cpu.launch RAY_FOLDER --actor.model_name_or_path ...
"""

from __future__ import annotations

import runpy
import sys

import ray


def main() -> None:
    folder, *arguments = sys.argv[1:]
    ray.init(num_cpus=8, num_gpus=3, include_dashboard=False, _temp_dir=folder)
    try:
        sys.argv = ["train_ppo_ray", *arguments]
        runpy.run_module("openrlhf.cli.train_ppo_ray", run_name="__main__")
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
