"""What stands around a run on this machine: the host's memory, and the Ray cluster that runs here, if one does.

Ray is asked in a process of its own, with a limit: a cluster that is half dead keeps whoever joins it waiting.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rrm_reward.cluster._devices import Devices, Finding
from rrm_reward.cluster._shapes import GIB, SHAPES

_PROBE = """
import json, ray
ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
nodes = [(node["NodeManagerAddress"], node["Resources"]) for node in ray.nodes() if node["Alive"]]
print(json.dumps({"here": ray.util.get_node_ip_address(), "nodes": nodes}))
"""

_NONE_RUNS = "Could not find any running Ray instance"
"""How Ray says so (`ray.init`, 2.41 to 2.60)."""

NO_CLUSTER = "no cluster runs here; a run starts its own"
_NO_RAY = "is not installed"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Ray cluster that runs.

    Attributes:
        nodes: that live.
        cpus, gpus: of all of them, as Ray counts.
        gpus_here: of this machine, as Ray counts.
    """

    nodes: int
    cpus: float
    gpus: float
    gpus_here: float


def find_cluster(environment: Mapping[str, str], seconds: float = 60.0) -> Cluster | str:
    """The cluster that a run here would join (``RAY_ADDRESS``, or one on this machine), or why there is none.

    Args:
        environment: of the process that asks.
        seconds: that it may take.
    """
    command = [sys.executable, "-c", _PROBE]
    try:
        asked = subprocess.run(
            command, env=dict(environment), capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return f"a cluster that does not answer in {seconds:g} s: is RAY_ADDRESS right? `ray stop`, and start it again"
    if asked.returncode == 0:
        found = json.loads(asked.stdout.splitlines()[-1])
        resources = [resource for _, resource in found["nodes"]]
        here = [resource for address, resource in found["nodes"] if address == found["here"]]
        cpus, gpus, gpus_here = (
            sum(resource.get(kind, 0.0) for resource in nodes)
            for kind, nodes in (("CPU", resources), ("GPU", resources), ("GPU", here))
        )
        return Cluster(len(resources), cpus, gpus, gpus_here)
    if _NONE_RUNS in asked.stderr:
        return NO_CLUSTER
    if "No module named 'ray'" in asked.stderr:
        return _NO_RAY
    last = asked.stderr.strip().splitlines() or [f"exit code {asked.returncode}"]
    return f"a cluster that cannot be joined: {last[-1]}"


def said(cluster: Cluster | str) -> str:
    """As a line of `rrm-reward doctor`."""
    if isinstance(cluster, str):
        return cluster
    return f"{cluster.nodes} node{'s' * (cluster.nodes > 1)}: {cluster.cpus:g} CPU, {cluster.gpus:g} GPU"


def check_cluster(cluster: Cluster | str, devices: Devices) -> list[Finding]:
    """A cluster that a run here would join and cannot, or GPUs of this machine that it does not know.

    Nobody can place an actor on those.

    Args:
        cluster: see `find_cluster`; one that is to be started will count for itself.
        devices: of this machine.
    """
    if isinstance(cluster, str):
        return [] if cluster in (NO_CLUSTER, _NO_RAY) else [Finding("ray", cluster)]
    if cluster.gpus_here >= devices.count:
        return []
    fix = (
        f"knows {cluster.gpus_here:g} of this machine's {devices.count} GPUs: it was started with --num-gpus, or where "
        "a variable hid them; `ray stop`, and start it again"
    )
    return [Finding("ray", fix, fatal=not cluster.gpus)]


@dataclass(frozen=True, slots=True)
class Memory:
    """Of the host or of the container around us, in bytes.

    Attributes:
        total: that there is.
        available: of it, without swapping.
    """

    total: int
    available: int


def detect_memory(root: Path = Path("/")) -> Memory | None:
    """By Linux's own files, a container's limit included; None elsewhere.

    Args:
        root: of the file system; tests give another.
    """
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith("kB")}
    total, available = kib["MemTotal"] * 1024, kib["MemAvailable"] * 1024
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            most, taken = (int((root / "sys/fs/cgroup" / name).read_text()) for name in (limit, used))
        except (OSError, ValueError):  # "max": no limit
            continue
        total, available = min(total, most), max(0, min(available, most - taken))
    return Memory(total, available)


def check_memory(memory: Memory | None, devices: Devices) -> list[Finding]:
    """Whether a replica of RRM-7B on every GPU may sleep at level 1, which keeps its weights in the host's memory."""
    needed = devices.count * SHAPES["7B"].weight_bytes
    if memory is None or needed <= memory.total:
        return []
    fix = (
        f"{memory.total / GIB:.0f} GiB do not hold the weights of RRM-7B for each of {devices.count} GPUs "
        f"({needed / GIB:.0f} GiB): a judge that shares them takes rrm.judge.cluster.sleep=2, or fewer replicas"
    )
    return [Finding("memory", fix, fatal=False)]


def said_memory(memory: Memory | None) -> str:
    """As a line of `rrm-reward doctor`: what there is, and what a replica takes at sleep level 1."""
    if memory is None:
        return "unknown"
    takes = " and ".join(f"{SHAPES[size].weight_bytes / GIB:.0f} GiB (RRM-{size})" for size in ("7B", "32B"))
    return (
        f"{memory.total / GIB:.0f} GiB of the host, {memory.available / GIB:.0f} available; "
        f"a replica that sleeps at level 1 keeps {takes} there"
    )
