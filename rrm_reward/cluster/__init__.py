"""Judge replicas as Ray actors: beside the trainer or on its GPUs, CUDA or ROCm.

    rrm:
      judge:
        backend: ray
        model: Reward-Reasoning/RRM-32B
        cluster: {replicas: 2, tensor_parallel: 4}

`JudgeGroup` is a backend like any other (`rrm_reward.judge.Backend`): nothing above it knows that there are replicas.

    _group.py        JudgeGroup: calls that outlive their replica
    _crew.py         all replicas as one: awake while anyone is inside, one outage at a time
    _shared.py       one group for many processes of a job, which `_host.py` holds
    _request.py      one request, and the replicas that it is tried on
    _switch.py       on while anyone of a process is inside
    _routing.py      which replica gets a call: a state machine without Ray
    _keeper.py       keeps one replica alive, through launch, sleep and loss: a state machine without Ray
    _life.py         what a replica is to its keeper; `_actor.py` is one of Ray
    _replica.py      the actor: an engine, its votes one by one, its health
    _engine.py       what an engine is; `_vllm.py` and `_in_process.py` are two
    _placement.py    bundles and nodes: where replicas live
    _own_group.py    placement groups that a later life of the process takes over
    _guard.py        no engine process outlives its replica
    _devices.py      CUDA, ROCm or CPU, and environment variables that contradict each other
    _versions.py, _surroundings.py  what is installed and works together; the host's memory and Ray's cluster
    _doctor.py       ``rrm-reward doctor``
    _shapes.py, _sizing.py      data sheets, and memory arithmetic with them
    _size_options.py, _size_report.py  ``rrm-reward size``
    _commands.py     both commands for `rrm_reward.cli`

Importing this package imports no Ray. ``docs/cluster.md`` is the user's page.
"""

from rrm_reward.cluster._devices import Devices, Finding, check_environment, detect_devices
from rrm_reward.cluster._engine import ContinuingEngine, Declined, Engine, EngineSpec
from rrm_reward.cluster._group import JudgeGroup, judge_group
from rrm_reward.cluster._shared import SharedJudge

__all__ = [
    "ContinuingEngine",
    "Declined",
    "Devices",
    "Engine",
    "EngineSpec",
    "Finding",
    "JudgeGroup",
    "SharedJudge",
    "check_environment",
    "detect_devices",
    "judge_group",
]
