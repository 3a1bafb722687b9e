"""The host's memory and the Ray cluster that runs here, as `rrm-reward doctor` says them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rrm_reward.cluster import Devices
from rrm_reward.cluster._doctor import examine, report
from rrm_reward.cluster._shapes import GIB
from rrm_reward.cluster._surroundings import (
    Cluster,
    Memory,
    check_cluster,
    check_memory,
    detect_memory,
    find_cluster,
    said,
)

EIGHT = Devices("cuda", 8, ("NVIDIA H100 80GB HBM3",) * 8)

RAY = """
from types import SimpleNamespace
util = SimpleNamespace(get_node_ip_address=lambda: "10.0.0.1")

def init(address, **_):
    {init}

def nodes():
    def node(address, alive, **resources):
        return dict(NodeManagerAddress=address, Alive=alive, Resources=resources)
    print("a line of a library's own")
    return [
        node("10.0.0.1", True, CPU=192.0, GPU=6.0),
        node("10.0.0.2", True, CPU=192.0, GPU=8.0),
        node("10.0.0.3", True, CPU=4.0),
        node("10.0.0.4", False, CPU=192.0, GPU=8.0),
    ]
"""


def ask(folder: Path, init: str, seconds: float = 60.0) -> Cluster | str:
    """`find_cluster` where Ray is a file of ours."""
    (folder / "ray.py").write_text(RAY.format(init=init))
    return find_cluster({**os.environ, "PYTHONPATH": str(folder)}, seconds)


def test_living_nodes_are_counted_and_those_of_this_machine_apart(tmp_path):
    cluster = ask(tmp_path, "assert address == 'auto'")
    assert cluster == Cluster(nodes=3, cpus=388.0, gpus=14.0, gpus_here=6.0)
    assert said(cluster) == "3 nodes: 388 CPU, 14 GPU"


@pytest.mark.parametrize(
    ("init", "expected", "wrong"),
    [
        (
            "raise ConnectionError('Could not find any running Ray instance. Start one')",
            "no cluster runs here",
            False,
        ),
        ("raise ModuleNotFoundError(\"No module named 'ray'\")", "is not installed", False),
        (
            "raise RuntimeError('Version mismatch')",
            "a cluster that cannot be joined: RuntimeError: Version mismatch",
            True,
        ),
        ("raise SystemExit(3)", "a cluster that cannot be joined: exit code 3", True),
    ],
)
def test_why_there_is_no_cluster_is_said_and_is_fatal_where_a_run_would_join_one(
    tmp_path, init, expected, wrong
):
    found = ask(tmp_path, init)
    assert isinstance(found, str)
    assert found.startswith(expected)
    assert [finding.fatal for finding in check_cluster(found, EIGHT)] == [True] * wrong


def test_a_cluster_that_does_not_answer_holds_nobody_up_and_is_fatal(tmp_path):
    found = ask(tmp_path, "import time; time.sleep(600)", seconds=1.0)
    assert isinstance(found, str)
    assert found.startswith("a cluster that does not answer in 1 s")
    (finding,) = check_cluster(found, EIGHT)
    assert finding.fatal


def test_gpus_that_ray_does_not_know_are_found_and_fatal_where_it_knows_none_at_all():
    assert check_cluster(Cluster(1, 192, 8, 8), EIGHT) == []
    (some,) = check_cluster(Cluster(2, 192, 14, 6), EIGHT)
    assert not some.fatal
    assert "knows 6 of this machine's 8 GPUs" in some.fix
    (none,) = check_cluster(Cluster(1, 192, 0, 0), EIGHT)
    assert none.fatal
    assert "`ray stop`" in none.fix
    assert check_cluster(Cluster(1, 2, 0, 0), Devices("cpu")) == []


def test_a_host_that_cannot_hold_a_sleeping_judge_is_told_of_level_2():
    assert check_memory(Memory(2000 * GIB, 1900 * GIB), EIGHT) == []
    (finding,) = check_memory(Memory(64 * GIB, 60 * GIB), EIGHT)
    assert not finding.fatal
    assert "113 GiB" in finding.fix
    assert "sleep=2" in finding.fix
    assert check_memory(Memory(64 * GIB, 60 * GIB), Devices("cpu")) == []
    assert check_memory(None, EIGHT) == []


def write(root: Path, **files: str) -> None:
    names = {
        "meminfo": "proc/meminfo",
        "most": "sys/fs/cgroup/memory.max",
        "used": "sys/fs/cgroup/memory.current",
    }
    for key, text in files.items():
        file = root / names[key]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def test_memory_is_the_hosts_or_the_containers_if_that_is_less(tmp_path):
    assert detect_memory(tmp_path) is None
    write(
        tmp_path,
        meminfo="MemTotal: 104857600 kB\nMemFree: 1 kB\nMemAvailable: 83886080 kB\nHugePages_Total: 0\n",
    )
    assert detect_memory(tmp_path) == Memory(100 * GIB, 80 * GIB)
    write(tmp_path, most="max\n", used=f"{GIB}\n")
    assert detect_memory(tmp_path) == Memory(100 * GIB, 80 * GIB)
    write(tmp_path, most=f"{30 * GIB}\n", used=f"{20 * GIB}\n")
    assert detect_memory(tmp_path) == Memory(30 * GIB, 10 * GIB)


def test_doctor_has_a_line_for_each_and_names_what_is_wrong():
    cluster, memory = Cluster(1, 192, 0, 0), Memory(64 * GIB, 60 * GIB)
    fine = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    findings = examine(fine, EIGHT, {}, "cuda", cluster, memory)
    lines = report(fine, EIGHT, {}, findings, cluster, memory).splitlines()
    assert "ray        1 node: 192 CPU, 0 GPU" in lines
    assert any(line.startswith("memory     64 GiB of the host, 60 available; ") for line in lines)
    assert any(line.startswith("wrong      ray: knows 0 of this machine's 8 GPUs") for line in lines)
    assert any(line.startswith("perhaps    memory: ") for line in lines)
