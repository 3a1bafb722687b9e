"""CUDA, ROCm or CPU, and environment variables that contradict each other.

A judge asks Ray for ``GPU`` and never writes a ``*_VISIBLE_DEVICES``. Others do, each in its own way, and a wrong
combination shows as an actor that never starts, or as two engines on one GPU. What is checked here, and whose code says
so (each was read, and what is Ray's is tested with Ray's own code):

    Ray before 2.56     hides all devices from actors that hold none; since then only if OVERRIDE_ON_ZERO is 1. Replicas
                        over several bundles hold none themselves, and are started with 0 (`Place.options`)
    Ray 2.60 on ROCm    sets HIP_VISIBLE_DEVICES, unless RAY_EXPERIMENTAL_NOSET_HIP_VISIBLE_DEVICES; raises in the
                        worker if only ROCR_VISIBLE_DEVICES is set; opt-outs for CUDA and ROCR have no effect
    verl 0.9            moves HIP_VISIBLE_DEVICES to CUDA_VISIBLE_DEVICES; stops if they differ, or if ROCR is set too
    OpenRLHF 0.11       takes any NOSET variable for all, and then writes CUDA_VISIBLE_DEVICES itself
    vLLM on ROCm        stops if HIP_VISIBLE_DEVICES and CUDA_VISIBLE_DEVICES differ
"""

from __future__ import annotations

import importlib
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HIP, ROCR, CUDA = "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"
OPT_OUTS = tuple(f"RAY_EXPERIMENTAL_NOSET_{name}" for name in (HIP, ROCR, CUDA))
"""By which Ray is told to leave a variable alone."""

OVERRIDE_ON_ZERO = "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"

VARIABLES = (HIP, ROCR, CUDA, *OPT_OUTS, OVERRIDE_ON_ZERO)
"""Everything that is looked at."""


@dataclass(frozen=True, slots=True)
class Devices:
    """What this machine computes on.

    Attributes:
        kind: ``cuda``, ``rocm`` or ``cpu``.
        count: GPUs of the machine, whatever is visible of them; 0 if unknown.
        names: of the GPUs, where they are known.
    """

    kind: str
    count: int = 0
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong.

    Attributes:
        name: the variable or package.
        fix: what is wrong with it and what to do.
        fatal: whether a run cannot work with it; else it may.
    """

    name: str
    fix: str
    fatal: bool = True


def detect_devices(root: Path = Path("/")) -> Devices:
    """By the drivers' files, so that no context takes memory on a GPU. With both drivers, what torch was built for.

    Args:
        root: of the file system; tests give another.
    """
    found = [*_amd(root), *_nvidia(root)]
    if len(found) > 1:
        # mostly a processor's own AMD GPU beside NVIDIA's: what torch cannot use is no device of ours
        built_for = torch_kind()
        found = [
            devices for devices in found if devices.kind == (built_for if built_for == "rocm" else "cuda")
        ]
    return found[0] if found else Devices("cpu")


def _amd(root: Path) -> list[Devices]:
    """The GPUs of AMD's compute driver, if it has any; it has nodes for processors, too, whose id is 0."""
    if not (root / "dev/kfd").exists():
        return []
    nodes = sorted((root / "sys/class/kfd/kfd/topology/nodes").glob("*/gpu_id"))
    gpus = [node for node in nodes if _text(node) not in ("", "0")]
    if nodes and not gpus:
        return []
    return [Devices("rocm", len(gpus), tuple(filter(None, (_text(gpu.with_name("name")) for gpu in gpus))))]


def _text(file: Path) -> str:
    """What it says; nothing where it is not there, or not for this container to read."""
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def _nvidia(root: Path) -> list[Devices]:
    devices = list((root / "dev").glob("nvidia[0-9]*"))
    names = _nvidia_names() if devices and root == Path("/") else ()
    return [Devices("cuda", len(devices), names)] if devices else []


def _nvidia_names() -> tuple[str, ...]:
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(listed.split("\n")[:-1])


def torch_kind() -> str | None:
    """What the installed torch was built for: ``cuda``, ``rocm`` or ``cpu``; None without torch."""
    try:
        version = importlib.import_module("torch.version")
    except ImportError:
        return None
    if getattr(version, "hip", None):
        return "rocm"
    return "cuda" if getattr(version, "cuda", None) else "cpu"


def check_environment(environment: Mapping[str, str], devices: Devices, *, gpus: int = 1) -> list[Finding]:
    """Variables that contradict each other or the devices.

    Args:
        environment: variables by name.
        devices: of this machine.
        gpus: that are wanted; with 0 nothing can be wrong.

    Returns:
        One finding a mistake, with what to change; empty if all is well.
    """
    if not gpus or devices.kind == "cpu":
        return []
    findings = [*_check_ids(environment, devices)]
    findings += _check_rocm(environment) if devices.kind == "rocm" else _check_cuda(environment)
    return findings


def _check_rocm(environment: Mapping[str, str]) -> list[Finding]:
    hip, cuda, found = environment.get(HIP), environment.get(CUDA), []
    if ROCR in environment and hip is None:
        found.append(
            Finding(ROCR, f"unset it and set {HIP} instead: Ray's workers stop with it and never start")
        )
    elif environment.get(ROCR) and (hip or cuda):
        fix = f"unset it: beside {HIP} it selects among the GPUs that are left over, and verl refuses both"
        found.append(Finding(ROCR, fix))
    if hip is not None and cuda is not None and hip != cuda:
        fix = f"is {cuda!r} and {HIP} is {hip!r}: vLLM and verl stop if they differ; unset {CUDA}"
        found.append(Finding(CUDA, fix))
    no_hip, others = OPT_OUTS[0], OPT_OUTS[1:]
    for name in others:
        if _is_true(environment.get(name)) and not _is_true(environment.get(no_hip)):
            fix = f"has no effect on ROCm, but OpenRLHF believes it and writes {CUDA}: unset it, or set {no_hip}"
            found.append(Finding(name, fix))
    return found


def _check_cuda(environment: Mapping[str, str]) -> list[Finding]:
    found = []
    for name in (HIP, ROCR):
        if environment.get(name):
            fix = f"means nothing on NVIDIA GPUs, and verl copies it to {CUDA}: unset it"
            found.append(
                Finding(name, fix, fatal=CUDA in environment and environment[CUDA] != environment[name])
            )
    for name in OPT_OUTS[:2]:
        if _is_true(environment.get(name)) and not _is_true(environment.get(OPT_OUTS[2])):
            fix = f"has no effect on NVIDIA GPUs, but OpenRLHF believes it and writes {CUDA} itself: unset it"
            found.append(Finding(name, fix))
    return found


def _check_ids(environment: Mapping[str, str], devices: Devices) -> list[Finding]:
    """Lists of devices that hide all of them, name one twice, or one that is not there."""
    found = []
    for name in (HIP, CUDA) if devices.kind == "rocm" else (CUDA,):
        listed = environment.get(name)
        if listed is None:
            continue
        ids = [part.strip() for part in listed.split(",")]
        numbers = [int(part) for part in ids if part.isdigit()]
        if not listed.strip() or listed.strip() in ("-1", "NoDevFiles"):
            found.append(Finding(name, "hides every GPU: unset it, or list those to be used"))
        elif len(set(ids)) < len(ids):
            found.append(Finding(name, f"{listed!r} names a GPU twice"))
        elif devices.count and any(number >= devices.count for number in numbers):
            found.append(
                Finding(name, f"{listed!r} names a GPU that is not there: there are {devices.count}")
            )
    return found


def _is_true(value: str | None) -> bool:
    """As Ray reads a switch."""
    return value is not None and value.strip().lower() not in ("", "0", "false")
