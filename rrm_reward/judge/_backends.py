"""Every backend by its name, made from the configuration."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import cast

from yarl import URL

from rrm_reward.config import JudgeConfig
from rrm_reward.errors import ConfigError
from rrm_reward.judge._backend import Backend
from rrm_reward.judge._openai import OpenAIBackend


def _openai(config: JudgeConfig) -> Backend:
    key = os.environ.get(config.api_key_env)
    if key and any(URL(url).user for url in config.urls):
        fix = "the URL brings a user of its own; leave one of the two out"
        raise ConfigError("judge.api_key_env", config.api_key_env, fix)
    return OpenAIBackend(
        config.urls,
        config.model,
        api_key=key,
        timeout=config.timeout,
        retries=config.retries,
        extra_body=config.extra_body,
        context_tokens=config.context_tokens,
    )


def _transformers(config: JudgeConfig) -> Backend:
    from rrm_reward.judge._transformers import (
        TransformersBackend,
    )  # a program that asks servers needs none of it

    return TransformersBackend(
        config.model,
        tokenizer=config.tokenizer,
        device=config.device,
        max_batch=config.max_batch,
        context_tokens=config.context_tokens,
    )


def _verl(config: JudgeConfig) -> Backend:
    fix = "only verl's reward manager knows where verl serves it (docs/cluster.md); use openai or ray"
    raise ConfigError("judge.backend", config.backend, fix)


def _elsewhere(module: str, function: str) -> Callable[[JudgeConfig], Backend]:
    """A backend of a room above this one, which may not be imported from here; looked up when it is made."""

    def make(config: JudgeConfig) -> Backend:
        return cast(Backend, getattr(importlib.import_module(module), function)(config))

    return make


BACKENDS: dict[str, Callable[[JudgeConfig], Backend]] = {
    "openai": _openai,
    "transformers": _transformers,
    "ray": _elsewhere("rrm_reward.cluster", "judge_group"),
    "verl": _verl,
}
"""What `Judge.from_config` takes ``judge.backend`` from; add yours here."""


def make_backend(config: JudgeConfig) -> Backend:
    """The backend of a configuration; nothing is loaded and nobody is asked before its `start`.

    Raises:
        ConfigError: there is none of that name, or it lacks something.
    """
    if config.backend not in BACKENDS:
        raise ConfigError("judge.backend", config.backend, f"choose one of {', '.join(BACKENDS)}")
    return BACKENDS[config.backend](config)
