"""A real vLLM server on the CPU, in the environment of OpenRLHF."""

from __future__ import annotations

import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.openrlhf.environment import PYTHON, VLLM_ON_CPU
from tests.support.ports import free_port

_START_SECONDS, _END_SECONDS = 800.0, 60.0
"""It starts in 30 s on an idle machine."""


@contextmanager
def vllm_server(folder: Path, model: str | Path, name: str, *arguments: str) -> Iterator[str]:
    """Its base URL, without ``/v1``, while it serves.

    Args:
        folder: of its log.
        model: folder of the model.
        name: under which it is served.
        arguments: further ones of ``vllm serve``.
    """
    port = free_port()
    command = [str(PYTHON), "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--served-model-name", name, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--dtype", "float32", "--enforce-eager", *arguments]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= VLLM_ON_CPU | {"VLLM_LOGGING_LEVEL": "INFO", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        _until_it_serves(process, port, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until_it_serves(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=60).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    pytest.fail("vLLM did not start:\n" + log.read_text()[-3000:])
