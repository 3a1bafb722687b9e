"""``rrm-reward doctor`` as a process beside a real Ray cluster, of two nodes and eight GPUs that do not exist."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.trainer, pytest.mark.xdist_group("fake cluster")]

DOCTOR = ["-m", "rrm_reward.cli", "doctor"]
MORE_GPUS = """
import sys
from rrm_reward import cli
from rrm_reward.cluster import Devices, _doctor
_doctor.detect_devices = lambda: Devices("cuda", 12, ("NVIDIA H100 80GB HBM3",) * 12)
_doctor.torch_kind = lambda: "cuda"
sys.exit(cli.main(["doctor"]))
"""
IMPATIENT = {
    "RAY_gcs_rpc_server_connect_timeout_s": "1",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "1",
}
"""Of Ray: else it waits a minute for a cluster that is not there."""


def run(address: str, *command: str, **further: str) -> tuple[int, list[str]]:
    """Exit code and lines, where this is Ray's address."""
    kept = {name: value for name, value in os.environ.items() if name != "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"}
    environment = {**kept, "RAY_ADDRESS": address, **further}
    done = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout.splitlines()


def test_doctor_counts_the_nodes_and_gpus_of_the_cluster_that_a_run_would_join(cluster):
    code, lines = run(cluster.address, *DOCTOR)
    assert "ray        2 nodes: 32 CPU, 8 GPU" in lines
    assert (lines[-1], code) == ("wrong      nothing", 0)


def test_doctor_tells_of_gpus_that_the_cluster_does_not_know(cluster):
    code, lines = run(cluster.address, "-c", MORE_GPUS)
    assert "ray        2 nodes: 32 CPU, 8 GPU" in lines
    assert any(line.startswith("perhaps    ray: knows 8 of this machine's 12 GPUs") for line in lines)
    # the others can be placed on
    assert (code, [line for line in lines if line.startswith("wrong")]) == (0, [])


def test_doctor_exits_with_1_where_the_cluster_that_a_run_would_join_is_not_there():
    code, lines = run("127.0.0.1:9", *DOCTOR, **IMPATIENT)
    assert any(line.startswith("ray        a cluster that ") for line in lines)
    assert any(line.startswith("wrong      ray: a cluster that ") for line in lines)
    assert code == 1
