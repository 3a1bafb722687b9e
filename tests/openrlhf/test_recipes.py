"""The recipe's flags are flags of OpenRLHF 0.11.2, and pass its checks and ours."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.openrlhf.environment import PYTHON, ROOT, environment
from tests.support.running_judge import running_judge

SCRIPT = ROOT / "recipes/openrlhf/run_webinstruct.sh"
IN_THE_RUN = ("own", "share")
RRM_7B, RRM_32B = "Reward-Reasoning/RRM-7B", "Reward-Reasoning/RRM-32B"


def flags_of_the_script(folder: Path, judge: str, **variables: str) -> dict[str, object]:
    """What the script would start: the recipe, run with a `python3` that writes down its arguments.

    Both of its commands must get the same flags: first our check, then the trainer.
    """
    folder.mkdir()
    python3 = folder / "python3"
    python3.write_text(
        f'#!/usr/bin/env bash\nprintf "%s\\0" "$@" > {folder}/$2\nprintf "%s" "$ENGINES" > {folder}/engines\n'
        f'printf "%s" "$RRM_CONFIG" > {folder}/config\n'
    )
    python3.chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        ["bash", SCRIPT],
        env={**os.environ, "PATH": path, "JUDGE_URL": judge, **variables},
        check=True,
        timeout=800,
    )
    started = {}
    for module in ("rrm_reward.integrations.openrlhf.check", "openrlhf.cli.train_ppo_ray"):
        option, name, *arguments = (folder / module).read_text().rstrip("\0").split("\0")
        assert [option, name] == ["-m", module]
        started[module] = arguments
    check, train = started.values()
    assert check == train
    exported = {
        "ENGINES": (folder / "engines").read_text(),
        "RRM_CONFIG": (folder / "config").read_text(),
    }
    variables = {"JUDGE_URL": judge, **exported, **variables}
    return {"arguments": train, "environment": variables}


def test_both_modes_with_every_judge_compose(tmp_path: Path) -> None:
    with running_judge(model=RRM_7B) as small, running_judge(model=RRM_32B) as large:
        runs = [
            flags_of_the_script(tmp_path / "sync", small.url, JUDGE_MODEL=RRM_7B, MODE="sync"),
            flags_of_the_script(tmp_path / "async", large.url, JUDGE_MODEL=RRM_32B, MODE="async"),
            # no server answers there, and none is asked
            *(
                flags_of_the_script(tmp_path / judge, "http://127.0.0.1:9", JUDGE=judge)
                for judge in IN_THE_RUN
            ),
        ]
        done = subprocess.run(
            [PYTHON, "-m", "tests.openrlhf.compose"],
            cwd=ROOT,
            env=environment(),
            input=json.dumps(runs),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        synchronous, asynchronous, own, share = json.loads(done.stdout)
        assert [len(small.counts) > 0, len(large.counts) > 0] == [True, True]
    both = {
        "check": 0,
        "rollout.n_samples_per_prompt": 8,
        "algo.advantage.estimator": "group_norm",
        "data.label_key": "reward_model",
        "reward.remote_url": ["agent"],
    }
    assert synchronous == {
        **both,
        "vllm.num_engines": 8,
        "vllm.enable_sleep": True,
        "train.async_enable": False,
        "train.colocate_all": True,
        "algo.dynamic_filtering_enable": False,
    }
    assert share == synchronous
    assert own == {**synchronous, "vllm.num_engines": 4}
    assert asynchronous == {
        **both,
        "vllm.num_engines": 4,
        "vllm.enable_sleep": False,
        "train.async_enable": True,
        "train.colocate_all": False,
        "algo.dynamic_filtering_enable": True,
    }


@pytest.mark.parametrize(
    ("variable", "known"), [("MODE", "sync or async"), ("JUDGE", "server, own or share")]
)
def test_an_unknown_mode_or_judge_is_refused(variable: str, known: str) -> None:
    done = subprocess.run(
        ["bash", SCRIPT], env={**os.environ, variable: "turbo"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert known in done.stderr
