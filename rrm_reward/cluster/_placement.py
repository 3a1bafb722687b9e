"""Where replicas live: in a placement group of their own, in somebody else's, or on named nodes.

Only the resources ``GPU`` and ``CPU`` are asked for, which Ray has on CUDA and on ROCm alike; which devices those are
is Ray's business, and no ``*_VISIBLE_DEVICES`` is written.

    own          one bundle a replica, which holds all its GPUs: a bundle lies on one node
    existing     the bundles of a trainer, one a GPU; a replica takes a share of several on one node
    named nodes  no placement group: a replica goes where it is told, and nowhere else

A replica that takes several bundles holds no GPU itself. Its engine starts a worker on each bundle.
"""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rrm_reward._cluster_config import ClusterConfig
from rrm_reward.cluster._devices import OPT_OUTS, OVERRIDE_ON_ZERO, check_environment, detect_devices
from rrm_reward.cluster._own_group import free_group, take_group
from rrm_reward.errors import ConfigError

_KEY = "judge.cluster"


@dataclass(frozen=True, slots=True)
class Place:
    """The place of one replica.

    Attributes:
        gpus: GPUs of the actor itself, a fraction where it shares one.
        cpus: likewise.
        group: a placement group of Ray, or None.
        bundle: of the group.
        bundles: of the engine's workers; empty where the actor holds the GPUs.
        node: a named node, or None.
        python: interpreter of the actor, or None for that of whoever starts it.
    """

    gpus: float
    cpus: float
    group: Any = None
    bundle: int = -1
    bundles: tuple[int, ...] = ()
    node: str | None = None
    python: str | None = None

    def options(self) -> dict[str, Any]:
        """Options of the actor; a node is looked up anew each time, for it may have come back as another.

        Raises:
            ConfigError: the node is not there.
        """
        from ray.util.scheduling_strategies import (
            NodeAffinitySchedulingStrategy,
            PlacementGroupSchedulingStrategy,
        )

        options: dict[str, Any] = {"num_gpus": self.gpus, "num_cpus": self.cpus}
        if self.group is not None:
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(
                self.group,
                placement_group_bundle_index=self.bundle,
                placement_group_capture_child_tasks=bool(self.bundles),
            )
        if self.node is not None:
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(
                find_node(self.node)["NodeID"], soft=False
            )
        runtime: dict[str, Any] = {} if self.python is None else {"py_executable": self.python}
        if self.gpus:
            # whatever the job says: without Ray's choice of devices every replica would take the first
            runtime["env_vars"] = dict.fromkeys(OPT_OUTS, "0")
        if self.bundles:
            # else Ray before 2.56 hides all devices from an actor with 0 GPUs, which cannot even tell CUDA from ROCm
            runtime["env_vars"] = {OVERRIDE_ON_ZERO: "0"}
        return {**options, "runtime_env": runtime} if runtime else options


@dataclass(frozen=True, slots=True)
class Places:
    """All places, and the placement group to be removed with them, if there is one of our own."""

    places: tuple[Place, ...]
    own: Any = None


def join_ray(address: str | None, gpus: int) -> bool:
    """Be in a Ray cluster; True if this process was in none before, so that it has to leave it.

    A process that is not Ray's own has the variables that Ray's daemons will have: the time to look at them, for
    afterwards a mistake shows as replicas that never start. Ray's own processes have what Ray made of them.

    Raises:
        ConfigError: variables that contradict each other.
    """
    import ray

    if ray.is_initialized():
        return False
    for finding in check_environment(os.environ, detect_devices(), gpus=gpus):
        if finding.fatal:
            raise ConfigError(finding.name, os.environ.get(finding.name), finding.fix)
    ray.init(address=address, include_dashboard=False)
    return True


def leave_ray(places: Places, owns_ray: bool) -> None:
    """Undo `join_ray`, and free a placement group of our own."""
    import ray

    if places.own is not None and ray.is_initialized():
        free_group(places.own)
    if owns_ray:
        ray.shutdown()


async def find_places(config: ClusterConfig, groups: Sequence[Any] = ()) -> Places:
    """A place for every replica, and the interpreter that it is started with.

    Args:
        config: what is asked for.
        groups: existing placement groups; without any, those named in the configuration, if there are.

    Raises:
        ConfigError: the cluster has no such place.
    """
    found = await _find_places(config, groups)
    return replace(found, places=tuple(replace(place, python=config.python) for place in found.places))


async def _find_places(config: ClusterConfig, groups: Sequence[Any]) -> Places:
    if not groups and config.placement_groups:
        groups = [_group_by_name(name) for name in config.placement_groups]
    if groups:
        return Places(shared_places(config, bundles_by_node(groups)))
    if config.share < 1 and config.gpus_of_replica > 1:
        fix = (
            "Ray gives shares of several GPUs only in bundles of one each: name placement_groups, or set 1.0"
        )
        raise ConfigError(f"{_KEY}.share", config.share, fix)
    if config.nodes:
        return Places(_node_places(config))
    return await _own_places(config)


def bundles_by_node(groups: Sequence[Any]) -> dict[str, list[tuple[Any, int]]]:
    """(group, bundle) of placement groups, by node, in the order of bundles; those that have no node are left out."""
    from ray.util import placement_group_table

    found: dict[str, list[tuple[Any, int]]] = defaultdict(list)
    for group in groups:
        nodes = placement_group_table(group)["bundles_to_node_id"]
        for bundle in sorted(filter(nodes.get, nodes), key=int):
            found[nodes[bundle]].append((group, int(bundle)))
    return dict(found)


def shared_places(config: ClusterConfig, bundles: dict[str, list[tuple[Any, int]]]) -> tuple[Place, ...]:
    """Places in bundles of one GPU each; those of a replica lie on one node and in one group.

    Raises:
        ConfigError: there are fewer than replicas.
    """
    width = max(1, config.gpus_of_replica)
    places: list[Place] = []
    for on_node in bundles.values():
        by_group: dict[int, list[tuple[Any, int]]] = defaultdict(list)
        for group, bundle in on_node:
            by_group[id(group)].append((group, bundle))
        for mine in by_group.values():
            for start in range(0, len(mine) - width + 1, width):
                group, first = mine[start]
                if width == 1:
                    share = config.share if config.gpus_of_replica else 0.0
                    places.append(Place(share, config.cpus, group, first))
                else:
                    taken = tuple(bundle for _, bundle in mine[start : start + width])
                    places.append(Place(0.0, config.cpus, group, first, taken))
    wanted = len(places) if config.replicas is None else config.replicas
    if not places or len(places) < wanted:
        fix = (
            f"the placement group has room for {len(places)}, at {width} bundles on one node each; lower it, or "
            "tensor_parallel"
        )
        raise ConfigError(f"{_KEY}.replicas", config.replicas, fix)
    return tuple(places[:wanted])


def _group_by_name(name: str) -> Any:
    from ray.util import get_placement_group

    try:
        return get_placement_group(name)
    except ValueError as error:
        fix = f"there is no placement group of that name in this Ray namespace ({error})"
        raise ConfigError(f"{_KEY}.placement_groups", name, fix) from error


def find_node(name: str) -> dict[str, Any]:
    """A living node by address, host name or id.

    Raises:
        ConfigError: there is none.
    """
    import ray

    nodes = [node for node in ray.nodes() if node["Alive"]]
    for node in nodes:
        if name in (node["NodeManagerAddress"], node["NodeManagerHostname"], node["NodeID"]):
            return dict(node)
    known = ", ".join(f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})" for node in nodes)
    raise ConfigError(f"{_KEY}.nodes", name, f"no such node; there are {known}")


def _node_places(config: ClusterConfig) -> tuple[Place, ...]:
    """Places on the named nodes in turn, as many as their resources hold."""
    need = {"GPU": config.gpus_of_replica * config.share, "CPU": config.cpus}
    resources = _resources(config)
    rooms = {name: room_for(need, resources[find_node(name)["NodeID"]]) for name in config.nodes}
    wanted = sum(rooms.values()) if config.replicas is None else config.replicas
    chosen: list[str] = []
    while len(chosen) < wanted and any(rooms.values()):
        for name in (name for name, room in rooms.items() if room):
            if len(chosen) < wanted:
                chosen.append(name)
                rooms[name] -= 1
    if not chosen or len(chosen) < wanted:
        fix = f"these nodes hold {len(chosen)} replicas of {_said(need)}"
        raise ConfigError(f"{_KEY}.replicas", config.replicas, fix)
    return tuple(Place(need["GPU"], need["CPU"], node=name) for name in chosen)


async def _own_places(config: ClusterConfig) -> Places:
    need = {"GPU": config.gpus_of_replica * config.share, "CPU": config.cpus}
    bundle = {kind: amount for kind, amount in need.items() if amount}
    group = take_group(bundle, config.replicas, lambda: _wanted(need, config))
    wanted = group.bundle_count
    try:
        # all bundles of a new group come at once; of one taken over some may have gone with their node, and come back
        if not bundles_by_node([group]):
            async with asyncio.timeout(config.start_timeout):
                await _ready(group)
    except TimeoutError:
        free_group(group)
        fix = f"{_said(need)} each did not become free within {config.start_timeout:g} s: others hold them"
        raise ConfigError(f"{_KEY}.replicas", wanted, fix) from None
    except BaseException:
        free_group(group)
        raise
    places = tuple(Place(need["GPU"], need["CPU"], group, index) for index in range(wanted))
    return Places(places, group)


def _wanted(need: Mapping[str, float], config: ClusterConfig) -> int:
    rooms = sum(room_for(need, has) for has in _resources(config).values())
    wanted = rooms if config.replicas is None else config.replicas
    if not wanted or rooms < wanted:
        fix = f"the cluster holds {rooms} replicas of {_said(need)}, each on one node, and no more"
        raise ConfigError(f"{_KEY}.replicas", config.replicas, fix)
    return wanted


def _resources(config: ClusterConfig) -> dict[str, Mapping[str, float]]:
    """Of every living node, by its id: all that it has, or what is free now, where the number of replicas is open.

    Replicas that are asked for by number wait for what others still hold.
    """
    import ray

    nodes = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
    if config.replicas is not None:
        return nodes
    free = ray._private.state.available_resources_per_node()
    return {node: free.get(node, {}) for node in nodes}


def room_for(need: Mapping[str, float], has: Mapping[str, float]) -> int:
    """Replicas that need so much of each resource, where there is so much of it.

    >>> room_for({"GPU": 0.3, "CPU": 0.0}, {"GPU": 0.9, "CPU": 8.0})
    3
    """
    # 0.9 / 0.3 is a little below 3
    return min(int(has.get(kind, 0.0) / amount + 1e-9) for kind, amount in need.items() if amount)


async def _ready(group: Any) -> None:
    await group.ready()


def _said(need: Mapping[str, float]) -> str:
    return " and ".join(f"{amount:g} {kind}" for kind, amount in need.items() if amount)
