"""``rrm-reward doctor``: what this machine has, what works together, and what is wrong.

devices    cuda 8 x NVIDIA H100 80GB HBM3
memory     2015 GiB of the host, 1970 available; a replica that sleeps at level 1 keeps 14 GiB (RRM-7B) and ...
ray        2 nodes: 384 CPU, 16 GPU
variables  none that select devices
packages   torch 2.11.0, ray 2.60.0, vllm 0.24.0, verl 0.9.1
wrong      nothing
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from rrm_reward import __version__
from rrm_reward.cluster._devices import (
    VARIABLES,
    Devices,
    Finding,
    check_environment,
    detect_devices,
    torch_kind,
)
from rrm_reward.cluster._surroundings import (
    NO_CLUSTER,
    Cluster,
    Memory,
    check_cluster,
    check_memory,
    detect_memory,
    find_cluster,
    said,
    said_memory,
)
from rrm_reward.cluster._versions import TRIED, check_attention, check_versions, installed_versions


def examine(
    environment: Mapping[str, str],
    devices: Devices,
    versions: Mapping[str, str],
    torch: str | None,
    cluster: Cluster | str = NO_CLUSTER,
    memory: Memory | None = None,
) -> list[Finding]:
    """Everything that is wrong with a machine.

    Args:
        environment: variables by name.
        devices: as detected.
        versions: of installed packages.
        torch: see `torch_kind`.
        cluster: of Ray, that runs here, or why there is none.
        memory: of the host.
    """
    findings = [
        *check_environment(environment, devices),
        *check_versions(versions),
        *check_attention(versions, devices.kind),
        *check_cluster(cluster, devices),
        *check_memory(memory, devices),
    ]
    if torch is not None and devices.kind != torch:
        if devices.kind != "cpu":
            fix = f"is built for {torch} and this machine has {devices.kind}: install torch's build for {devices.kind}"
            findings.append(Finding("torch", fix))
        elif torch != "cpu":
            fix = f"is built for {torch} and no such GPU is here: is the driver loaded, and in the container?"
            findings.append(Finding("torch", fix, fatal=False))
    return findings


def report(
    environment: Mapping[str, str],
    devices: Devices,
    versions: Mapping[str, str],
    findings: list[Finding],
    cluster: Cluster | str,
    memory: Memory | None,
) -> str:
    """The text that is printed; see `examine`."""
    shown = f"{devices.count} x {devices.names[0]}" if devices.names else str(devices.count or "")
    variables = [f"{name}={environment[name]!r}" for name in VARIABLES if name in environment]
    packages = [f"{package} {version}" for package, version in versions.items()]
    lines = [
        f"rrm-reward {__version__}, Python {sys.version.split()[0]}",
        f"devices    {devices.kind} {shown}".rstrip(),
        f"memory     {said_memory(memory)}",
        f"ray        {said(cluster)}",
        f"variables  {', '.join(variables) or 'none that select devices'}",
        f"packages   {', '.join(packages) or 'none of those that matter here'}",
        *(f"known      {line}" for line in TRIED),
        *(
            f"{'wrong' if finding.fatal else 'perhaps':10} {finding.name}: {finding.fix}"
            for finding in findings
        ),
    ]
    if not findings:
        lines.append("wrong      nothing")
    return "\n".join(lines)


def main() -> int:
    """Print the report; 1 if something is wrong, 0 if nothing is, or only perhaps."""
    devices, versions = detect_devices(), installed_versions()
    cluster, memory = find_cluster(os.environ), detect_memory()
    findings = examine(os.environ, devices, versions, torch_kind(), cluster, memory)
    print(report(os.environ, devices, versions, findings, cluster, memory))
    return int(any(finding.fatal for finding in findings))
