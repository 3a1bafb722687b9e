"""``judge.kind``: every kind of judge by its name, made from the configuration."""

from __future__ import annotations

import os
from collections.abc import Callable

from rrm_reward.config import JudgeConfig
from rrm_reward.errors import ConfigError
from rrm_reward.judge import Comparer, Judge
from rrm_reward.judge._untrusted import final_answer
from rrm_reward.scoring._classify import ClassifyScorer
from rrm_reward.scoring._oracle import OracleComparer, OracleScorer, load_function


def _scalar(config: JudgeConfig) -> Comparer:
    if config.backend == "transformers":
        from rrm_reward.scoring._transformers import (
            TransformersScorer,
        )  # a program that asks servers needs none of it

        return TransformersScorer(
            config.model,
            tokenizer=config.tokenizer,
            device=config.device,
            max_batch=config.max_batch,
            context_tokens=config.context_tokens,
            response_view=config.response_view,
            always_thinks=config.always_thinks,
        )
    if config.backend == "openai":
        return ClassifyScorer(
            config.urls,
            config.model,
            tokenizer=config.tokenizer,
            api_key=os.environ.get(config.api_key_env),
            timeout=config.timeout,
            retries=config.retries,
            extra_body=config.extra_body,
            response_view=config.response_view,
            always_thinks=config.always_thinks,
        )
    raise ConfigError("judge.backend", config.backend, "a scalar judge runs on openai or transformers")


def _oracle(config: JudgeConfig) -> Comparer:
    function, texts = load_function(config.function)

    def view(response: str) -> str:
        if config.response_view == "full":
            return response
        return final_answer(response, always_thinks=config.always_thinks)

    return OracleComparer(function, view) if texts == 3 else OracleScorer(function, view)


KINDS: dict[str, Callable[[JudgeConfig], Comparer]] = {
    "rrm": Judge.from_config,
    "scalar": _scalar,
    "oracle": _oracle,
}
"""What `make_judge` takes ``judge.kind`` from; add yours here."""


def make_judge(config: JudgeConfig) -> Comparer:
    """The judge of a configuration; nothing is loaded and nobody is asked before `start`.

    Raises:
        ConfigError: an unknown kind, or what the kind refuses.
    """
    if config.kind not in KINDS:
        raise ConfigError("judge.kind", config.kind, f"choose one of {', '.join(KINDS)}")
    return KINDS[config.kind](config)
