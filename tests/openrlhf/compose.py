"""Runs in OpenRLHF's environment: our check, then OpenRLHF's own parser and checks, for several command lines.

Reads JSON from standard input, a list of ``{"environment": {...}, "arguments": [...]}``, and prints a list of what came
of each: our check's exit code and the parsed arguments that `KEYS` names.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from contextlib import redirect_stdout
from functools import reduce
from typing import Any

import openrlhf.utils
import ray

from rrm_reward.integrations.openrlhf.check import main as check

KEYS = (
    "rollout.n_samples_per_prompt",
    "vllm.num_engines",
    "vllm.enable_sleep",
    "train.async_enable",
    "train.colocate_all",
    "algo.dynamic_filtering_enable",
    "algo.advantage.estimator",
    "data.label_key",
    "reward.remote_url",
)


class Parsed(Exception):
    """Thrown where the trainer would begin; `args` holds its arguments."""


def _stop(args: Any) -> None:
    raise Parsed(args)


def parsed(arguments: list[str]) -> Any:
    """The arguments as the trainer's command line understands them, after all of its own checks."""
    sys.argv = ["train_ppo_ray", *arguments]
    try:
        runpy.run_module("openrlhf.cli.train_ppo_ray", run_name="__main__")
    except Parsed as reached:
        return reached.args[0]
    raise AssertionError("the trainer was not reached")


def main() -> None:
    # the first two things that `train(args)` does
    ray.is_initialized = lambda: True
    openrlhf.utils.get_strategy = _stop
    found = []
    with redirect_stdout(sys.stderr):
        for run in json.load(sys.stdin):
            os.environ.update(run["environment"])
            code = check(run["arguments"])
            args = parsed(run["arguments"])
            found.append({"check": code, **{key: reduce(getattr, key.split("."), args) for key in KEYS}})
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
