"""verl trains the small base into a judge, by the recipe's own config, reward and log."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from recipes.train_rrm.miniature import Setting


@pytest.mark.trainer(minutes=3)
def test_verl_trains_an_rrm_from_verdicts_alone(tmp_path: Path) -> None:
    """`python -m recipes.train_rrm.miniature`: sampled accuracy on held-out pairs from below .7 to above .85."""
    out = tmp_path / "run"
    command = [sys.executable, "-m", "recipes.train_rrm.miniature", "--seed", "0", "--out", str(out)]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=1700, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((out / "summary.json").read_text())
    assert summary["accuracy_before"] < 0.7
    assert summary["accuracy_after"] > 0.85, summary["accuracy_by_step"]
    # the merged model, loaded by the library: the same pairs in both orders
    assert abs(summary["accuracy_of_the_judge"] - summary["accuracy_after"]) < 0.1
    for name in ("accuracy", "position_bias", "no_verdict", "length"):
        logged = summary["training"][name]
        assert list(map(int, logged)) == list(range(1, Setting().steps + 1)), f"rrm/{name} at every step"
    assert max(summary["training"]["no_verdict"].values()) < 0.5
