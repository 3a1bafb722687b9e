from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.verl.assets import Assets, make_assets
from tests.verl.runs import JudgeProcess


@pytest.fixture(scope="session")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Assets:
    """A tiny policy, its tokenizer and its data."""
    return make_assets(tmp_path_factory.mktemp("verl_assets"))


@pytest.fixture
def judge_process() -> Iterator[JudgeProcess]:
    with JudgeProcess() as judge:
        yield judge


@pytest.fixture
def verl08() -> Path:
    """The interpreter of the environment that holds verl 0.8 (`make .venv-verl08/.ready`)."""
    from recipes.miniature.verl_cpu.launch import ROOT

    python = ROOT / ".venv-verl08/bin/python"
    assert python.exists(), "make .venv-verl08/.ready"
    return python
