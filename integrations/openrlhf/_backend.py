"""Whom an engine asks: a server, a model in its own process, or the judge that the run itself has started.

With ``judge.backend=ray`` the judge is one for all engines (`SharedJudge`): the engine that comes first starts its
replicas, on GPUs of their own (``share: 1.0``), or on a share of those of OpenRLHF's engines. The latter are found by
the engine's own placement group, which has no name; they hold parts of a GPU only under ``--train.colocate_all``.

Beside OpenRLHF's models a judge is loaded when the first group is judged, for vLLM measures free memory while it
loads, and two that load at once mismeasure. On GPUs of its own it is loaded at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rrm_reward.cluster import SharedJudge
from rrm_reward.config import JudgeConfig
from rrm_reward.errors import ConfigError
from rrm_reward.judge import Backend, make_backend

_PART = 0.2
"""Of a GPU and of a CPU, that OpenRLHF gives each model of a bundle under ``--train.colocate_all``."""

FEWEST_MODELS = 2
"""Of a bundle: the policy and its rollout engine."""


def engine_backend(judge: JudgeConfig) -> Backend | None:
    """The backend of one engine; None where the judge is a scorer, which brings its own.

    Raises:
        ConfigError: a judge that OpenRLHF's bundles cannot hold.
    """
    if judge.kind != "rrm":
        return None
    if judge.backend != "ray":
        return make_backend(judge)
    check_places(judge)
    if is_shared(judge):
        return SharedJudge(judge, _own_placement_group)
    shared = SharedJudge(judge)
    shared.begin()
    return shared


def is_shared(judge: JudgeConfig) -> bool:
    """True for a judge on a share of the GPUs of OpenRLHF's engines."""
    cluster = judge.cluster
    return judge.backend == "ray" and cluster.share < 1 and not (cluster.placement_groups or cluster.nodes)


def check_places(judge: JudgeConfig, models: int = FEWEST_MODELS) -> None:
    """Refuse a judge for which there is no place beside OpenRLHF.

    Args:
        judge: on Ray.
        models: of OpenRLHF, in a bundle that is shared.

    Raises:
        ConfigError: with key, value and fix.
    """
    cluster, room = judge.cluster, 1 - _PART * models
    if not is_shared(judge):
        if cluster.replicas is None and not (cluster.placement_groups or cluster.nodes):
            fix = "the judge would take GPUs that OpenRLHF asks Ray for a moment later: say how many"
            raise ConfigError("rrm.judge.cluster.replicas", None, fix)
        return
    held = f"{models} of OpenRLHF's models hold {_PART:g} of each GPU and CPU"
    if cluster.share > room + 1e-9:
        raise ConfigError("rrm.judge.cluster.share", cluster.share, f"{held}: set at most {room:g}")
    if cluster.cpus > room + 1e-9:
        raise ConfigError("rrm.judge.cluster.cpus", cluster.cpus, f"{held}: set at most {room:g}")


def _own_placement_group() -> Sequence[Any]:
    """That of the engine which this process is.

    Raises:
        ConfigError: it is in none.
    """
    from ray.util import get_current_placement_group

    group = get_current_placement_group()
    if group is None:
        fix = "this process is in no placement group whose GPUs could be shared: set --train.colocate_all, or share 1.0"
        raise ConfigError("rrm.judge.cluster.share", None, fix)
    return [group]
