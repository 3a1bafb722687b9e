"""What `rrm_reward.config` refuses: every mistake that can be found without a network or a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rrm_reward._cluster_config import validate_cluster
from rrm_reward.errors import ConfigError

if TYPE_CHECKING:
    from rrm_reward.config import RRMConfig


def _one_of(key: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ConfigError(key, value, f"choose one of {', '.join(allowed)}")


def _at_least(key: str, value: float, low: float) -> None:
    if not low <= value < math.inf:
        raise ConfigError(key, value, f"must be at least {low}, and finite")


def validate(config: RRMConfig) -> None:
    """Find every mistake that can be found without a network or a model.

    Raises:
        ConfigError: the first mistake, with key, value and fix.
    """
    judge = config.judge
    _one_of("judge.backend", judge.backend, ("openai", "transformers", "ray", "verl"))
    _one_of("judge.order", judge.order, ("balanced", "random", "both"))
    _one_of("judge.aggregate", judge.aggregate, ("share", "majority"))
    _one_of("judge.early_stop", judge.early_stop, ("none", "waves", "race"))
    _one_of("judge.force", judge.force, ("none", "truncated"))
    _one_of("judge.response_view", judge.response_view, ("final", "full"))
    _one_of("judge.kind", judge.kind, ("rrm", "scalar", "oracle"))
    if judge.kind == "oracle" and ":" not in judge.function:
        raise ConfigError("judge.function", judge.function, "name the oracle: package.module:name")
    if judge.kind == "scalar" and judge.backend == "ray":
        raise ConfigError("judge.backend", "ray", "a scalar judge runs on openai (vLLM) or transformers")
    if judge.kind != "rrm" and judge.votes != 1:
        raise ConfigError("judge.votes", judge.votes, f"{judge.kind} says the same every time; leave it at 1")
    if judge.kind != "oracle" and not judge.model:
        raise ConfigError("judge.model", judge.model, "name the judge, for example Reward-Reasoning/RRM-7B")
    if judge.backend == "openai" and judge.kind != "oracle":
        if not judge.urls:
            raise ConfigError(
                "judge.urls", judge.urls, "give at least one base URL, for example [http://host:8000/v1]"
            )
        for url in judge.urls:
            if not url.startswith(("http://", "https://")):
                raise ConfigError("judge.urls", url, "must start with http:// or https://")
            base = url.partition("?")[0].rstrip("/")
            if not base.endswith("/v1"):
                raise ConfigError("judge.urls", url, f"must end in /v1: {base}/v1")
    for key, value, low in (
        ("seed", config.seed, 0),
        ("judge.votes", judge.votes, 1),
        ("judge.reasks", judge.reasks, 0),
        ("judge.temperature", judge.temperature, 0.0),
        ("judge.max_tokens", judge.max_tokens, 1),
        ("judge.retries", judge.retries, 0),
        ("judge.store_limit", judge.store_limit, 1),
        ("judge.max_batch", judge.max_batch, 1),
        ("arena.concurrency", config.arena.concurrency, 1),
        ("arena.ahead", config.arena.ahead, 0),
        ("assembler.max_groups", config.assembler.max_groups, 1),
        ("assembler.remember", config.assembler.remember, 0),
        ("position.drift", config.position.drift, 0.0),
        ("service.max_body", config.service.max_body, 1024),
        ("service.max_group", config.service.max_group, 1),
        ("service.max_waiting", config.service.max_waiting, config.service.max_group),
        ("service.gather", config.service.gather, 0.0),
        ("service.drain", config.service.drain, 0.0),
    ):
        _at_least(key, value, low)
    health = config.health
    for key, limit, low in (
        ("health.max_no_verdict", health.max_no_verdict, 0.0),
        ("health.max_position_bias", health.max_position_bias, 0.0),
        ("health.max_bias_jump", health.max_bias_jump, 0.0),
        ("health.max_length_drift", health.max_length_drift, 1.0),
        ("health.length_baseline", health.length_baseline, 1.0),
    ):
        if limit is not None:
            _at_least(key, limit, low)
    for key, seconds in (
        ("judge.timeout", judge.timeout),
        ("arena.group_timeout", config.arena.group_timeout),
        ("assembler.member_timeout", config.assembler.member_timeout),
        ("reward.clip", config.reward.clip),
        ("position.deviation", config.position.deviation),
    ):
        if seconds is not None and not 0 < seconds < math.inf:
            raise ConfigError(key, seconds, "must be positive and finite")
    if (
        config.service.group_size is not None
        and not 1 < config.service.group_size <= config.service.max_group
    ):
        raise ConfigError(
            "service.group_size",
            config.service.group_size,
            f"must be at least 2, and at most service.max_group={config.service.max_group}",
        )
    if judge.backend == "ray":
        validate_cluster(judge.cluster)
    if not 0 < judge.top_p <= 1:
        raise ConfigError("judge.top_p", judge.top_p, "must lie in (0, 1]")
    if judge.early_stop != "none" and judge.aggregate != "majority":
        fix = "only a majority is decided before all votes are in; set judge.aggregate=majority"
        raise ConfigError("judge.early_stop", judge.early_stop, fix)
    if judge.thinking_tokens is not None:
        _at_least("judge.thinking_tokens", judge.thinking_tokens, 1)
        if judge.force != "truncated":
            fix = "whoever is cut there has no verdict; set judge.force=truncated"
            raise ConfigError("judge.thinking_tokens", judge.thinking_tokens, fix)
    if judge.votes > 1 and judge.temperature == 0:
        raise ConfigError(
            "judge.votes", judge.votes, "greedy votes are all the same; raise judge.temperature"
        )
    if judge.context_tokens is not None and judge.context_tokens <= judge.max_tokens:
        raise ConfigError(
            "judge.max_tokens",
            judge.max_tokens,
            f"leaves no room for a prompt in a context of {judge.context_tokens}",
        )
