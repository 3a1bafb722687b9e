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


@pytest.fixture(scope="session")
def verl08() -> Path:
    """The interpreter of the environment that holds verl 0.8 (`make .venv-verl08/.ready`)."""
    from recipes.miniature.verl_cpu.launch import ROOT

    python = ROOT / ".venv-verl08/bin/python"
    assert python.exists(), "make .venv-verl08/.ready"
    return python


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A small local Ray; session-wide, since it takes seconds to start."""
    import os
    import shutil
    import tempfile

    # a token file in the home folder otherwise; read when Ray is imported
    os.environ["RAY_AUTH_MODE"] = "disabled"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    os.environ["RAY_prestart_worker_first_driver"] = "0"  # noqa: SIM112  (Ray's own spelling)
    import ray

    # Ray's sockets live here, and the path of a socket has 107 characters at most
    folder = tempfile.mkdtemp(prefix="rrm-ray-", dir="/tmp")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=folder)
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
