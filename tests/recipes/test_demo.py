"""`make demo`: its parts, and the whole."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from recipes.miniature import demo
from recipes.miniature.demo import Clock, clear, printed_by


def test_an_earlier_run_makes_room_and_nothing_else_is_ever_deleted(tmp_path: Path) -> None:
    out = tmp_path / "out/demo"
    clear(out)
    (out / "data").mkdir()
    (out / "log.txt").write_text("an earlier run")
    clear(out)
    assert list(out.iterdir()) == []
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SystemExit, match="something else"):
        clear(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_a_line_of_progress_comes_while_the_judge_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Ending(Clock):
        """After the third line, what is waited for may end."""

        lines = 0

        def say(self, line: str) -> None:
            super().say(line)
            self.lines += 1
            if self.lines == 3:
                ended.touch()

    ended = tmp_path / "ended"
    monkeypatch.setattr(demo, "TICK_SECONDS", 0.02)
    wait = (
        f"import pathlib, time\nwhile not pathlib.Path({str(ended)!r}).exists(): time.sleep(0.01)\nprint(17)"
    )
    assert printed_by([sys.executable, "-c", wait], "measuring the judge", Ending()) == "17\n"
    assert capsys.readouterr().out.count("measuring the judge") >= 3


def test_a_judge_that_cannot_be_measured_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"ZeroDivisionError[\s\S]*measuring the judge failed"):
        printed_by([sys.executable, "-c", "1 / 0"], "measuring the judge", Clock())


@pytest.mark.trainer(minutes=3)
def test_the_demo_teaches_a_policy_to_sort_without_an_answer(tmp_path: Path) -> None:
    """`make demo`, whole: verl, the reward manager, the small RRM, the summary and the plot."""
    out = tmp_path / "demo"
    began = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-m", "recipes.miniature.demo", "--seed", "1", "--out", str(out)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    lines, longest, last = [], 0.0, began
    for line in child.stdout:
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
        lines.append(line)
    child.stdout.close()
    assert child.wait() == 0, "".join(lines)
    assert longest < 150, "a line every five seconds, and that many times more on a loaded machine"
    summary = json.loads((out / "summary.json").read_text())
    assert summary["accuracy_after"] - summary["accuracy_before"] >= 0.2
    assert summary["judge_accuracy"] > 0.85
    assert summary["comparisons"] > 100
    assert summary["missing"] / summary["comparisons"] < 0.05
    assert summary["steps"] == demo.STEPS
    assert sum(summary["seconds"][stage] for stage in ("start", "training", "evaluation")) > 0
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert all(row["reward_model"]["ground_truth"] == "" for row in rows(out / "data" / "train.parquet"))
    assert "measuring the judge" in "".join(lines)
    assert "without ever seeing an answer" in "".join(lines)


def rows(file: Path) -> list[dict[str, Any]]:
    return pyarrow.parquet.read_table(file).to_pylist()
