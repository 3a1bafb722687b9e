"""The one configuration tree, the same for the command line, verl, OpenRLHF, TRL and HTTP.

The tree is an OmegaConf structured config: every key has a type, a default and one line of help, and an unknown key is
refused with its nearest neighbour named. `load` reads it from a file and ``key=value`` overrides; `validate` finds
what can be found without a network. In a trainer's own config the tree hangs under the key ``rrm``.

    >>> config = load(overrides=["judge.urls=[http://127.0.0.1:8000/v1]", "judge.model=RRM-7B"])
    >>> config.judge.votes
    1
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rrm_reward._judge_config import JudgeConfig as JudgeConfig  # a section like those below
from rrm_reward._settings import setting as _setting
from rrm_reward._validate import validate
from rrm_reward.errors import ConfigError


@dataclass
class TournamentConfig:
    """Which responses meet."""

    name: str = _setting("round_robin", "a schedule of rrm_reward.tournament.SCHEDULES")
    budget: int | None = _setting(None, "most comparisons of one group; null: what the schedule needs")
    options: dict[str, Any] = _setting(
        {}, "further arguments of the schedule, for example {k: 4} of circular"
    )


@dataclass
class RatingConfig:
    """How outcomes become one number per response."""

    name: str | None = _setting(None, "a rating of rrm_reward.rating.RATINGS; null: the schedule's own")
    options: dict[str, Any] = _setting({}, "further arguments of the rating, for example {k: 32} of elo")


@dataclass
class PositionConfig:
    """The judge's preference for Assistant 1, learnt while the run goes on."""

    learn: bool | None = _setting(
        None,
        "learn the position bias; null: unless rating.options.position (0: no such term) fixes it. "
        "Bradley-Terry and Elo use it",
    )
    path: str | None = _setting(
        None,
        "JSON file to go on from and keep up to date; rank and verl put one beside output and checkpoints",
    )
    deviation: float = _setting(1.5, "standard deviation of what is believed at first, in log-odds")
    drift: float = _setting(0.01, "how far the bias may move from group to group, in log-odds")


@dataclass
class RewardConfig:
    """How ratings become what the trainer gets."""

    scale: str = _setting("natural", "a scale of rrm_reward.reward.SCALES")
    shrink: str = _setting(
        "none", "none | stderr: pull estimates together by what their standard errors explain (win_rate)"
    )
    clip: float = _setting(5.0, "rewards lie in [-clip, clip]; OpenRLHF itself clips at 10")


@dataclass
class ArenaConfig:
    """How much is asked at once, and how long it may take."""

    concurrency: int = _setting(256, "requests in flight over all judge replicas")
    ahead: int = _setting(
        0,
        "members a group may still wait for while its bracket is played on as if they were to lose; costs calls "
        "(docs/speed.md)",
    )
    group_timeout: float | None = _setting(
        None, "seconds from a group's first match to its result at the latest"
    )


@dataclass
class AssemblerConfig:
    """How single samples become groups."""

    member_timeout: float = _setting(
        1800.0, "seconds without news of a group before it is judged as it stands"
    )
    max_groups: int = _setting(16384, "open groups at once; beyond that the oldest is judged as it stands")
    remember: int = _setting(4096, "finished groups whose rewards are kept for retried submits")


@dataclass
class LogConfig:
    """What is written down."""

    path: str | None = _setting(None, "SQLite run log of every match and vote; null: none")
    compress: bool = _setting(True, "compress the judge's texts in it (judge.keep_text), with zlib")


@dataclass
class HealthConfig:
    """When the judge's health is worth a warning; null leaves a warning out."""

    max_no_verdict: float | None = _setting(0.2, "share of votes without a verdict")
    max_position_bias: float | None = _setting(
        0.15, "distance from 0.5 of the share of verdicts for Assistant 1, beyond its confidence interval"
    )
    max_bias_jump: float | None = _setting(0.1, "change of that share against its own longer average")
    max_length_drift: float | None = _setting(
        2.0, "how many times longer (or shorter) responses may become than the baseline"
    )
    length_baseline: float | None = _setting(
        None, "mean characters of a response before training; null: of the first 32 groups"
    )


@dataclass
class ServiceConfig:
    """What ``rrm-reward serve`` allows its clients."""

    group_size: int | None = _setting(
        None, "samples of a prompt (OpenRLHF's n_samples_per_prompt); /v1/openrlhf needs it"
    )
    token_env: str = _setting(
        "RRM_REWARD_TOKEN", "environment variable that holds the token clients must send, if there is one"
    )
    anonymous: bool = _setting(False, "let everybody in from other machines, without a token")
    max_body: int = _setting(16 * 2**20, "bytes of a request's body")
    max_group: int = _setting(256, "responses of a group")
    max_waiting: int = _setting(32768, "responses of all unfinished groups; beyond that new groups get 429")
    gather: float = _setting(
        600.0, "seconds that the first sample of /v1/openrlhf waits for the others of its prompt"
    )
    drain: float = _setting(600.0, "seconds that open groups have to finish after SIGTERM")


@dataclass
class RRMConfig:
    """Everything."""

    seed: int = _setting(0, "the one seed: brackets, orders and request seeds derive from it")
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    tournament: TournamentConfig = field(default_factory=TournamentConfig)
    rating: RatingConfig = field(default_factory=RatingConfig)
    position: PositionConfig = field(default_factory=PositionConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    arena: ArenaConfig = field(default_factory=ArenaConfig)
    assembler: AssemblerConfig = field(default_factory=AssemblerConfig)
    log: LogConfig = field(default_factory=LogConfig)
    health: HealthConfig = field(default_factory=HealthConfig)
    service: ServiceConfig = field(default_factory=ServiceConfig)


def load(
    file: str | Path | None = None,
    overrides: Sequence[str] = (),
    tree: Mapping[str, Any] | DictConfig | None = None,
) -> RRMConfig:
    """The tree from a YAML file, a mapping (a trainer's ``rrm`` node) and ``key=value`` overrides, in that order.

    Raises:
        ConfigError: a file that is not there, an unknown key, a value of the wrong type, or what `validate` refuses.
    """
    schema = OmegaConf.structured(RRMConfig)
    parts: list[tuple[str, Any]] = []
    if file is not None:
        if not Path(file).is_file():
            raise ConfigError("config", str(file), "no such file")
        parts.append((str(file), _read(str(file), lambda: OmegaConf.load(file))))
    if tree is not None:
        parts.append(("rrm", _read("rrm", lambda: _resolved(tree))))
    for override in overrides:
        if "=" not in override:
            raise ConfigError("override", override, "write key=value, for example judge.votes=3")
        parts.append((override, _read(override, functools.partial(OmegaConf.from_dotlist, [override]))))
    for source, part in parts:
        if not isinstance(part, DictConfig):
            raise ConfigError(source, str(part), "expected a mapping of settings")
        _refuse_unknown(part, RRMConfig)
        try:
            schema = OmegaConf.unsafe_merge(schema, part)  # a copy the less; both are ours alone
        except OmegaConfBaseException as error:
            key = getattr(error, "full_key", None) or source
            raise ConfigError(
                str(key), OmegaConf.select(part, str(key)), str(error).splitlines()[0]
            ) from error
    config = cast(RRMConfig, _read("config", lambda: OmegaConf.to_object(schema)))
    validate(config)
    return config


def load_options(file: str | Path | None, options: Mapping[str, Any], overrides: Sequence[str]) -> RRMConfig:
    """The tree of a command line.

    Args:
        file: the configuration file, if any.
        options: settings by dotted key that were given as options; they win over the file.
        overrides: settings as ``key=value``; they win over the file too, and may not repeat an option.

    Raises:
        ConfigError: as `load`, or a setting that is given twice.
    """
    tree: dict[str, Any] = {}
    for key, value in options.items():
        *sections, name = key.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = value
    for override in overrides:
        key, _, value = override.partition("=")
        if key in options:
            raise ConfigError(key, value, f"is given as an option too ({options[key]!r}); leave one out")
    return load(file, overrides, tree)


def _read(source: str, read: Callable[[], Any]) -> Any:
    """What `read` makes of a source: YAML that is none, and interpolations that lead nowhere, are named."""
    try:
        return read()
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or source
        raise ConfigError(str(key), source, str(error).splitlines()[0]) from error
    except Exception as error:
        # PyYAML, the file's encoding, the file itself: all mean the same to the user.
        raise ConfigError(
            "config", source, f"cannot be read as YAML ({' '.join(str(error).split())})"
        ) from error


def _resolved(tree: Mapping[str, Any] | DictConfig) -> Any:
    """A tree without interpolations, which may point out of it."""
    plain = OmegaConf.to_container(tree, resolve=True) if isinstance(tree, DictConfig) else dict(tree)
    return OmegaConf.create(cast(Any, plain))


def _refuse_unknown(part: DictConfig, schema: type, prefix: str = "") -> None:
    """Name an unknown key together with the key that was probably meant."""
    known = {f.name: f for f in fields(schema)}
    for key in part:
        name = str(key)
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known keys: {', '.join(known)}"
            raise ConfigError(f"{prefix}{name}", part[name], f"unknown setting; {hint}")
        default = known[name].default_factory
        if isinstance(default, type) and is_dataclass(default) and isinstance(part[name], DictConfig):
            _refuse_unknown(part[name], default, f"{prefix}{name}.")
