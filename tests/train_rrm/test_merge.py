"""What verl writes is a judge that the library loads, by the README's own command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recipes.miniature.evaluate import held_out_pairs
from recipes.miniature.verl_cpu.launch import _MODULES
from recipes.scaling.__main__ import labelled
from recipes.scaling.measure import draw, in_process, over_votes

ROOT = Path(__file__).parents[2]
README = (ROOT / "recipes" / "train_rrm" / "README.md").read_text()


@pytest.mark.trainer(minutes=1)
def test_shards_merge_into_a_judge_by_the_command_of_the_readme(tmp_path: Path) -> None:
    """verl's own checkpoint manager writes, the README's `verl.model_merger` merges, `Judge` judges."""
    platform = {"VERL_PLATFORM": "cpu", "VERL_ENGINE_DEVICE": "cuda"}
    environment = {**os.environ, **platform, "VERL_USE_EXTERNAL_MODULES": ",".join(_MODULES)}
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment |= {"HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(paths)}

    def run(*module: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", *module],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]

    run("tests.train_rrm.shards", str(tmp_path))
    judge = tmp_path / "judge"
    merge = "verl.model_merger merge --backend fsdp --target_dir"
    assert f"python -m {merge} " in README
    run(*merge.split(), str(judge), "--local_dir", str(tmp_path / "actor"))
    pairs = [labelled(pair) for pair in held_out_pairs(32)]
    (point,) = over_votes(draw(in_process(judge), pairs, votes=1), [1])
    assert point.accuracy > 0.85
