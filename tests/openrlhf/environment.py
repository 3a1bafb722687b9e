"""The environment that holds OpenRLHF, vLLM's CPU build and DeepSpeed: not this one."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-openrlhf/bin/python"
"""Made by ``make .venv-openrlhf/.ready``."""

OLD = ROOT / ".venv-openrlhf/openrlhf-0.10.1"
"""Folder with OpenRLHF 0.10.1."""


VLLM_ON_CPU = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}
"""What vLLM's CPU build needs beside other processes."""


def environment(*first: Path, **further: str) -> dict[str, str]:
    """Variables of a process there; modules are looked for in `first`, then here."""
    assert PYTHON.exists(), "make .venv-openrlhf/.ready"
    paths = [str(path) for path in (*first, ROOT)]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PATH": f"{PYTHON.parent}{os.pathsep}{os.environ['PATH']}",
        # neither a hub nor a token file in the home folder
        "HF_HUB_OFFLINE": "1",
        "RAY_AUTH_MODE": "disabled",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "OMP_NUM_THREADS": "1",
        **further,
    }
