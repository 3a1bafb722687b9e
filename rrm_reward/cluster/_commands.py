"""The two commands of this package on the command line: ``rrm-reward doctor`` and ``rrm-reward size``."""

from __future__ import annotations

from typing import Any

from rrm_reward.cluster import _doctor, _size_options, _size_report


def add_commands(commands: Any) -> None:
    """Add both to argparse's commands; ``arguments.run(arguments)`` runs the chosen one and returns the exit code."""
    doctor = commands.add_parser(
        "doctor",
        allow_abbrev=False,
        help="devices, variables and versions, and what is wrong with them",
        description="Prints what this machine has and what works together. Exit code 1: something is wrong.",
    )
    doctor.set_defaults(run=lambda _: _doctor.main())
    size = commands.add_parser(
        "size",
        allow_abbrev=False,
        help="whether policy and judge fit on some GPUs, and how long judging takes",
        description="Memory arithmetic; its assumptions are those of docs/sizing.md. Exit code 1: it does not fit.",
    )
    _size_options.add_arguments(size)
    size.set_defaults(run=_size_report.main)
