"""The promises of ``contract/``, kept with OpenRLHF's own classes, in the environment that has them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.openrlhf.environment import OLD, PYTHON, ROOT, environment


@pytest.mark.parametrize(
    ("version", "folders"), [("0.11.2", []), ("0.10.1", [OLD])], ids=["0.11.2", "0.10.1"]
)
def test_the_executor_keeps_its_promises_to_openrlhf(version: str, folders: list[Path]) -> None:
    """One process a version: to import vLLM takes seconds."""
    done = subprocess.run(
        [
            *(PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "120"),
            *("-o", "python_files=contract_*.py", "tests/openrlhf/contract"),
        ],
        cwd=ROOT,
        env=environment(*folders, RRM_TEST_OPENRLHF_VERSION=version),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    passed = re.search(r"^(\d+) passed\b", done.stdout, re.MULTILINE)
    assert passed is not None, done.stdout[-2000:]
    assert int(passed[1]) >= 30
