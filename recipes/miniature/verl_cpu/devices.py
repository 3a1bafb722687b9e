"""The functions that verl calls on ``torch.cuda`` and that ``torch.cpu`` lacks.

A CPU has no memory pool to empty and no peak to reset: those do nothing and answer 0. Its random state is torch's own.
"""

from __future__ import annotations

from typing import Any

import torch


def _nothing(*_: Any, **__: Any) -> None:
    """Does nothing."""


def _zero(*_: Any, **__: Any) -> int:
    """Bytes in a pool that does not exist."""
    return 0


_FUNCTIONS: dict[str, Any] = {
    **dict.fromkeys(
        ("memory_allocated", "memory_reserved", "max_memory_allocated", "max_memory_reserved"), _zero
    ),
    **dict.fromkeys(
        (
            "empty_cache",
            "ipc_collect",
            "reset_peak_memory_stats",
            "reset_accumulated_memory_stats",
            "set_per_process_memory_fraction",
        ),
        _nothing,
    ),
    "mem_get_info": lambda *_, **__: (0, 0),
    "get_device_name": lambda *_, **__: "cpu",
    "manual_seed": torch.manual_seed,
    "manual_seed_all": torch.manual_seed,
    "get_rng_state": lambda *_, **__: torch.random.get_rng_state(),
    "set_rng_state": lambda state, *_, **__: torch.random.set_rng_state(state),
}


def complete_torch_cpu() -> None:
    """Add what is missing to ``torch.cpu``; what a newer torch brings itself is left alone."""
    for name, function in _FUNCTIONS.items():
        if not hasattr(torch.cpu, name):
            setattr(torch.cpu, name, function)


def use_gloo() -> None:
    """Let verl's workers speak gloo only.

    verl asks for ``cpu:gloo,<device>:<backend>``; with the device "cpu" that names the same device twice, which torch
    refuses. No setting changes it, so the function is wrapped.
    """
    import verl.utils.distributed as distributed

    initialize = distributed.initialize_global_process_group_ray

    def initialize_with_gloo(timeout_second: float | None = None, backend: str | None = None) -> None:
        initialize(timeout_second=timeout_second, backend=backend or "gloo")

    distributed.initialize_global_process_group_ray = initialize_with_gloo
