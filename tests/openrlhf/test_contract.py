"""The promises of ``contract/``, kept with OpenRLHF's own classes, in the environment that has them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.openrlhf.environment import OLD, PYTHON, ROOT, environment

RELEASES = {"0.11.2": "", "0.10.1": str(OLD)}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with what pytest said under each release; one process, for to import vLLM takes seconds."""
    folder = tmp_path_factory.mktemp("contract")
    releases = [f"{version}={path}" for version, path in RELEASES.items()]
    subprocess.run(
        [PYTHON, "-m", "tests.openrlhf.contract", folder, *releases],
        cwd=ROOT,
        env=environment(),
        check=True,
    )
    return folder


@pytest.mark.timeout(900)  # under a minute alone; a busy machine may take ten times that
@pytest.mark.parametrize("version", RELEASES)
def test_the_executor_keeps_its_promises_to_openrlhf(reports: Path, version: str) -> None:
    said = (reports / f"{version}.txt").read_text()
    counted = re.search(r"^(\d+) passed(?:, \d+ warnings?)? in ", said, re.MULTILINE)
    assert counted is not None, said[-6000:]
    assert int(counted[1]) >= 30
