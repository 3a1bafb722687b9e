"""Scores from vLLM's classify endpoint: ``vllm serve MODEL --runner pooling``, one request a response.

``POST /classify`` (beside ``/v1``) with ``messages`` renders the model's own chat template, and with
``use_activation: false`` its one "probability" is the raw logit (vLLM 0.29, `entrypoints/pooling/classify`).
Replicas, retries, timeouts and probes are those of the chat backend.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from rrm_reward.errors import ConfigError
from rrm_reward.judge import BackendError, Message, OpenAIBackend, make_view, neutralise, special_tokens_of
from rrm_reward.judge._tokenizer import load_tokenizer
from rrm_reward.scoring._base import Score, Scorer
from rrm_reward.scoring._chat import chat_of
from rrm_reward.types import Query

logger = logging.getLogger(__name__)

CLASSIFY = "/../classify"
"""One level above the base URL."""


class ClassifyScorer(Scorer):
    """A `Scorer` over HTTP.

    Args:
        urls: base URLs of the replicas, each ending in ``/v1``.
        model: served model name.
        tokenizer: folder or hub name: its special tokens are defused in responses; None goes without.
        api_key, timeout, retries, extra_body: see `OpenAIBackend`.
        response_view, always_thinks: see `make_view`.

    Attributes:
        errors: requests without a score.
    """

    def __init__(
        self,
        urls: Sequence[str],
        model: str,
        *,
        tokenizer: str | None = None,
        api_key: str | None = None,
        timeout: float = 600.0,
        retries: int = 3,
        extra_body: Mapping[str, Any] | None = None,
        response_view: str = "final",
        always_thinks: bool = False,
    ) -> None:
        self._backend = OpenAIBackend(urls, model, api_key=api_key, timeout=timeout, retries=retries)
        self._model = model
        self._tokenizer = tokenizer
        self._extra = dict(extra_body or {})
        self._response_view, self._always_thinks = response_view, always_thinks
        self._special: frozenset[str] = frozenset()
        self._view = make_view(response_view, always_thinks=always_thinks)
        self._started = False
        self.errors = 0

    async def start(self) -> None:
        """See `Comparer.start`: the model is served, and it is one that gives a single number.

        Raises:
            ConfigError: no server, another model, or none that scores.
        """
        if self._started:
            return
        if self._tokenizer is not None:
            tokenizer = await asyncio.to_thread(load_tokenizer, self._tokenizer, "judge.tokenizer")
            self._special = special_tokens_of(tokenizer)
            self._view = make_view(self._response_view, self._special, always_thinks=self._always_thinks)
        await self._backend.start()
        try:
            await self._ask(chat_of("What is 2 + 2?", "4"))
        except BackendError as error:
            await self._backend.aclose()
            fix = f"gives no score ({error}); serve a reward model: vllm serve {self._model} --runner pooling"
            raise ConfigError("judge.model", self._model, fix) from error
        self._started = True

    async def aclose(self) -> None:
        """See `Comparer.aclose`."""
        self._started = False
        await self._backend.aclose()

    def snapshot(self) -> dict[str, float]:
        """See `Comparer.snapshot`."""
        return {"score_errors": float(self.errors)}

    def view(self, response: str) -> str:
        """See `Comparer.view`."""
        return self._view(response)

    async def score(self, query: Query, response: str) -> Score:
        """See `Scorer.score`."""
        if isinstance(query, str):
            query = neutralise(query, self._special)
        try:
            return await self._ask(chat_of(query, response))
        except Exception as error:
            self.errors += 1
            if self.errors.bit_count() == 1:  # the 1st, 2nd, 4th, 8th, ...
                logger.error("%d responses could not be scored; last: %s", self.errors, error)
            return Score(None)

    async def _ask(self, messages: Sequence[Message]) -> Score:
        body = {"model": self._model, "messages": messages, "use_activation": False, **self._extra}
        try:
            raw = orjson.dumps(body)
        except TypeError:
            raw = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        return await self._backend.exchange(CLASSIFY, raw, decode_score)


def decode_score(payload: bytes) -> Score:
    """The score in an answer of the classify endpoint.

    Raises:
        ValueError: this is no classification, or one into several classes.
    """
    body = orjson.loads(payload)
    try:
        (item,) = body["data"]
        (value,) = item["probs"]
        return Score(float(value), (body.get("usage") or {}).get("prompt_tokens") or 0)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a single score: {payload[:200]!r}") from error
