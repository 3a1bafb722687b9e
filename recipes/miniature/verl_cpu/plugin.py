"""What ``VERL_USE_EXTERNAL_MODULES=recipes.miniature.verl_cpu.plugin`` imports in every process of the run."""

from __future__ import annotations

import importlib
import importlib.util

from verl.workers.rollout.base import _ROLLOUT_REGISTRY
from verl.workers.rollout.replica import RolloutReplicaRegistry

from recipes.miniature.verl_cpu import devices

ENGINE = "transformers_cpu"
"""The value of ``actor_rollout_ref.rollout.name``."""

_ROLLOUT = "recipes.miniature.verl_cpu.rollout"


def _register_engine() -> None:
    """Make the engine known by name.

    It is imported when it is asked for and not here: Ray's workers import it first, which imports verl, which
    imports this module.
    """
    RolloutReplicaRegistry.register(ENGINE, lambda: importlib.import_module(_ROLLOUT).Replica)
    _ROLLOUT_REGISTRY[(ENGINE, "async")] = f"{_ROLLOUT}.Adapter"


devices.complete_torch_cpu()
if importlib.util.find_spec("verl.plugin") is not None:
    import recipes.miniature.verl_cpu.verl09  # noqa: F401  (registers the platform)
else:
    from recipes.miniature.verl_cpu import verl08

    verl08.install()
devices.use_gloo()
_register_engine()
