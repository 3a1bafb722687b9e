"""Runs the contract under several releases of OpenRLHF: ``python -m tests.openrlhf.contract FOLDER VERSION=PATH ...``.

What all releases import is imported once, for that takes longer than the tests; then each gets a process forked from
this one, in which PATH comes first (empty for the release of the environment). FOLDER/VERSION.txt is what pytest said.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import pytest

_SHARED = ("deepspeed", "ray", "transformers", "vllm.outputs", "vllm.v1.engine.async_llm")


def _run(folder: Path, version: str, path: str) -> None:
    """In a process forked for this release, and to the end."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return
    code = 1
    try:
        said = os.open(folder / f"{version}.txt", os.O_WRONLY | os.O_CREAT)
        os.dup2(said, 1)
        os.dup2(said, 2)
        if path:
            sys.path.insert(0, path)
            importlib.invalidate_caches()
        os.environ["RRM_TEST_OPENRLHF_VERSION"] = version
        options = ["-q", "-p", "no:cacheprovider", "--timeout", "300", "-o", "python_files=contract_*.py"]
        code = pytest.main([*options, str(Path(__file__).parent)])
    finally:
        sys.stdout.flush()
        os._exit(code)


def main(folder: Path, releases: list[str]) -> None:
    for name in _SHARED:
        importlib.import_module(name)
    for release in releases:
        _run(folder, *release.split("=", 1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
