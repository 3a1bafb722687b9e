"""One YAML file, and every mistake in it that can be found at start-up.

    rrm:            # what to compare and how: `rrm_reward.config`, the same tree everywhere
      judge: {urls: ["${oc.env:JUDGE_URL}"], model: Reward-Reasoning/RRM-7B}
    rrm_openrlhf:   # what only OpenRLHF needs: `OpenRLHFConfig`; may be left out
      label: reference

OpenRLHF hands its executor no configuration, and the processes of a Ray cluster do not inherit the environment of the
shell that starts the job. So the file is looked for in the variable ``RRM_CONFIG`` (set it in the job's runtime
environment), then beside the agent file.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rrm_reward.config import LogConfig, PositionConfig, RRMConfig, load
from rrm_reward.errors import ConfigError

FilePart = TypeVar("FilePart", LogConfig, PositionConfig)

VARIABLE = "RRM_CONFIG"
LABELS = ("ignore", "query", "reference")
LARGEST_CLIP = 5.0
"""OpenRLHF clips a reward less its group's mean at 10 (``--reward.clip_range``): at most twice this."""


@dataclass
class OpenRLHFConfig:
    """The node ``rrm_openrlhf``.

    Attributes:
        label: what the column of ``--data.label_key`` is for. ``ignore``. ``query``: it holds the question (text or
            chat messages), so that nothing need be read out of the rendered prompt. ``reference``: it holds a
            reference answer, and a row that has one is worth the judge's probability that the response beats it, both
            orders asked; rows without one are compared with their siblings. So evaluation rows can have an answer
            and training rows none.
        engines: vLLM engines of the job (``--vllm.num_engines``); each holds an arena of its own, with this part of
            ``rrm.arena.concurrency``.
        log: JSONL file of every sample and its reward, on each engine's node; null: none.
    """

    label: str = "ignore"
    engines: int = 1
    log: str | None = None


@dataclass(frozen=True)
class Settings:
    """What an engine needs to know.

    Attributes:
        rrm: the judge, the tournament, the rating; of this engine alone, so with its part of the concurrency and a
            run log of its own.
        openrlhf: see `OpenRLHFConfig`.
    """

    rrm: RRMConfig
    openrlhf: OpenRLHFConfig


def find_config(beside: str | Path | None = None) -> Path:
    """The file that configures this process.

    Args:
        beside: the file that an agent file names; `VARIABLE` comes first.

    Raises:
        ConfigError: neither is there.
    """
    named = os.environ.get(VARIABLE)
    if named:
        if not Path(named).is_file():
            raise ConfigError(
                VARIABLE, named, "no such file on this node; every node of the cluster must see it"
            )
        return Path(named)
    if beside is None:
        raise ConfigError(
            VARIABLE,
            None,
            "name the YAML with the settings in the job's runtime environment: ray job submit "
            f'--runtime-env-json \'{{"env_vars": {{"{VARIABLE}": "/path/rrm.yaml"}}}}\'',
        )
    if not Path(beside).is_file():
        raise ConfigError(
            "config_file", str(beside), f"no such file; put it there, or name another in {VARIABLE}"
        )
    return Path(beside)


def read_settings(file: Path) -> Settings:
    """The settings in a file, checked.

    Raises:
        ConfigError: with key, value and fix.
    """
    try:
        tree = OmegaConf.load(file)
    except Exception as error:  # PyYAML's errors, the encoding, the disk
        raise ConfigError(
            "config", str(file), f"cannot be read as YAML ({' '.join(str(error).split())})"
        ) from error
    if not isinstance(tree, DictConfig) or tree.get("rrm") is None:
        raise ConfigError(
            "rrm", None, f"add the node to {file}; recipes/openrlhf/webinstruct_rrm.yaml has one"
        )
    for key in tree:
        if key not in ("rrm", "rrm_openrlhf"):
            raise ConfigError(str(key), str(tree[key]), "unknown node; known: rrm, rrm_openrlhf")
    rrm, openrlhf = load(tree=tree.rrm), _read_openrlhf(tree.get("rrm_openrlhf"))
    if rrm.reward.clip > LARGEST_CLIP:
        raise ConfigError(
            "rrm.reward.clip",
            rrm.reward.clip,
            f"OpenRLHF clips rewards less their group's mean at 10; set at most {LARGEST_CLIP:g}",
        )
    return Settings(_of_one_engine(rrm, openrlhf.engines), openrlhf)


def _of_one_engine(rrm: RRMConfig, engines: int) -> RRMConfig:
    arena = replace(rrm.arena, concurrency=max(1, rrm.arena.concurrency // engines))
    return replace(rrm, arena=arena, log=_of_this_process(rrm.log), position=_of_this_process(rrm.position))


def _of_this_process(part: FilePart) -> FilePart:
    """With a file of its own: every engine writes one."""
    if not part.path:
        return part
    path = Path(part.path)
    return replace(part, path=str(path.with_stem(f"{path.stem}-{socket.gethostname()}-{os.getpid()}")))


def _read_openrlhf(node: Mapping[str, Any] | None) -> OpenRLHFConfig:
    known = [f.name for f in fields(OpenRLHFConfig)]
    given: dict[str, Any] = {} if node is None else {str(key): node[key] for key in node}
    for key, value in given.items():
        if key not in known:
            raise ConfigError(f"rrm_openrlhf.{key}", value, f"unknown setting; known: {', '.join(known)}")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(OpenRLHFConfig), given)
        config = cast(OpenRLHFConfig, OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        raise ConfigError("rrm_openrlhf", given, str(error).splitlines()[0]) from error
    if config.label not in LABELS:
        raise ConfigError("rrm_openrlhf.label", config.label, f"choose one of {', '.join(LABELS)}")
    if config.engines < 1:
        raise ConfigError("rrm_openrlhf.engines", config.engines, "must be at least 1: --vllm.num_engines")
    return config
