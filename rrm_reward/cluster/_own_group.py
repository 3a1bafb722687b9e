"""Placement groups that outlive the actor which made them, and belong to whoever comes after it.

Ray frees the groups of an actor when its whole job has ended, and no earlier. So an actor that it starts again, or that
a later one of the same name replaces, takes the groups over that are there: their GPUs are free for nobody else, and so
not for a second group of its own either. It finds them by name, which is that of the actor, or its id, and a number.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

_taken: dict[str, Any] = {}
"""Groups that this process holds, by name. A process that is no actor has no successor, and its groups no name."""


def take_group(bundle: Mapping[str, float], count: int | None, make_count: Callable[[], int]) -> Any:
    """A placement group of equal bundles, perhaps not ready yet: one that was left to this actor, or a new one.

    Args:
        bundle: resources of each.
        count: of bundles; None takes one over as it is.
        make_count: of a new group.
    """
    import ray
    from ray.util import placement_group

    context = ray.get_runtime_context()
    actor = context.get_actor_id() and (context.get_actor_name() or context.get_actor_id())
    if not actor:
        return placement_group([dict(bundle)] * make_count(), strategy="PACK")
    names = (f"rrm_reward of {actor}, {number}" for number in itertools.count())
    name = next(name for name in names if name not in _taken)
    group = _left(name, bundle, count)
    if group is None:
        group = placement_group([dict(bundle)] * make_count(), strategy="PACK", name=name)
    _taken[name] = group
    return group


def free_group(group: Any) -> None:
    """Give the group back."""
    from ray.util import remove_placement_group

    remove_placement_group(group)
    for name in [name for name, taken in _taken.items() if taken == group]:
        del _taken[name]


def _left(name: str, bundle: Mapping[str, float], count: int | None) -> Any:
    from ray.util import get_placement_group, remove_placement_group

    try:
        group = get_placement_group(name)
    except ValueError:
        return None
    if group.bundle_specs == [bundle] * (count or group.bundle_count):
        return group
    remove_placement_group(group)
    return None
