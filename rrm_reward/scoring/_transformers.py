"""Scores from ``AutoModelForSequenceClassification`` in this process, with dynamic batching.

The layout is that of Skywork-Reward: the model's chat template around query and response, and one logit at the last
token. Texts that are too long lose their beginning, for the logit stands at the end.

A score depends on the batch it is in by the rounding of the arithmetic (1e-6 in float32), no more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rrm_reward.errors import ConfigError
from rrm_reward.judge import Message, make_view, neutralise, special_tokens_of
from rrm_reward.scoring._base import Score, Scorer
from rrm_reward.scoring._chat import chat_of
from rrm_reward.types import Query

logger = logging.getLogger(__name__)

_Waiting = tuple[Sequence[Message], "asyncio.Future[Score]"]


class TransformersScorer(Scorer):
    """A `Scorer` around a reward model with one label.

    Args:
        model: folder or hub name.
        tokenizer: folder or hub name; None for the model's own.
        device: torch device; None for ``cuda`` (CUDA or ROCm) if there is one, else ``cpu``.
        max_batch: responses of one forward pass.
        dtype: torch dtype by name; ``auto`` is bfloat16 on a GPU, float32 on a CPU.
        context_tokens: longest text; None takes the model's ``max_position_embeddings``.
        response_view, always_thinks: see `make_view`.
    """

    def __init__(
        self,
        model: str,
        *,
        tokenizer: str | None = None,
        device: str | None = None,
        max_batch: int = 256,
        dtype: str = "auto",
        context_tokens: int | None = None,
        response_view: str = "final",
        always_thinks: bool = False,
    ) -> None:
        self._name, self._tokenizer_name = model, tokenizer
        self._device, self._dtype = device, dtype
        self._max_batch = max_batch
        self._context_tokens = context_tokens
        self._response_view, self._always_thinks = response_view, always_thinks
        self._view = make_view(response_view, always_thinks=always_thinks)
        self._special: frozenset[str] = frozenset()
        self._model: Any = None
        self._tokenizer: Any = None
        self._queue: list[_Waiting] = []
        self._runner: asyncio.Task[None] | None = None
        self._worker: ThreadPoolExecutor | None = None
        self.cut = self.errors = 0

    async def start(self) -> None:
        """See `Comparer.start`: loads model and tokenizer, in a worker thread.

        Raises:
            ConfigError: they cannot be loaded, or the model has more than one label.
        """
        if self._model is None:
            self._worker = self._worker or ThreadPoolExecutor(1, thread_name_prefix="rrm-scorer")
            await asyncio.get_running_loop().run_in_executor(self._worker, self._load)
            self._special = special_tokens_of(self._tokenizer)
            self._view = make_view(self._response_view, self._special, always_thinks=self._always_thinks)

    async def aclose(self) -> None:
        """See `Comparer.aclose`. Responses that wait are left without a score."""
        queue, self._queue = self._queue, []
        for _, future in queue:
            if not future.done():
                future.set_result(Score(None))
        runner, self._runner = self._runner, None
        if runner is not None:
            await asyncio.wait([runner])
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.shutdown(wait=False)
        self._model = None

    def snapshot(self) -> dict[str, float]:
        """See `Comparer.snapshot`: texts that were cut to fit, responses without a score."""
        return {"cut": float(self.cut), "score_errors": float(self.errors)}

    def view(self, response: str) -> str:
        """See `Comparer.view`."""
        return self._view(response)

    async def score(self, query: Query, response: str) -> Score:
        """See `Scorer.score`; whoever asks in the same tick of the loop shares a batch."""
        if isinstance(query, str):
            query = neutralise(query, self._special)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Score] = loop.create_future()
        self._queue.append((chat_of(query, response), future))
        if self._runner is None or self._runner.done():
            self._runner = loop.create_task(self._run(), name="rrm scorer batches")
        return await future

    async def _run(self) -> None:
        """Batch after batch, until nobody waits."""
        loop = asyncio.get_running_loop()
        while self._queue:
            await asyncio.sleep(0)
            batch, self._queue = self._queue[: self._max_batch], self._queue[self._max_batch :]
            try:
                chats = [messages for messages, _ in batch]
                scores = await loop.run_in_executor(self._worker, self._forward, chats)
            except Exception:
                self.errors += len(batch)
                logger.exception("a batch of %d responses could not be scored", len(batch))
                scores = [Score(None)] * len(batch)
            for (_, future), score in zip(batch, scores, strict=True):
                if not future.done():
                    future.set_result(score)

    def _forward(self, chats: Sequence[Sequence[Message]]) -> list[Score]:
        """In the worker: one forward pass."""
        import torch

        texts = [self._tokenizer.apply_chat_template(chat, tokenize=False) for chat in chats]
        rows = self._tokenizer(texts, add_special_tokens=False)["input_ids"]
        limit = self._context_tokens
        self.cut += sum(limit is not None and len(row) > limit for row in rows)
        rows = rows if limit is None else [row[-limit:] for row in rows]
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), self._model.config.pad_token_id)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for k, row in enumerate(rows):
            ids[k, : len(row)] = torch.tensor(row)
            mask[k, : len(row)] = 1
        device = self._model.device
        with torch.inference_mode():
            logits = self._model(input_ids=ids.to(device), attention_mask=mask.to(device)).logits
        return [
            Score(value, len(row)) for value, row in zip(logits[:, 0].double().tolist(), rows, strict=True)
        ]

    def _load(self) -> None:
        try:
            import torch
            import transformers
        except ImportError as error:
            fix = "needs transformers: pip install 'rrm-reward[transformers]'"
            raise ConfigError("judge.backend", "transformers", fix) from error
        key = "judge.model" if self._tokenizer_name is None else "judge.tokenizer"
        name = self._tokenizer_name or self._name
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(name)
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ConfigError(key, name, f"no tokenizer can be loaded from there ({reason})") from error
        if not tokenizer.chat_template:
            raise ConfigError(key, name, "has no chat template; give the reward model's own tokenizer")
        device = self._device or ("cuda" if torch.cuda.is_available() else "cpu")
        dtype = {"auto": "float32" if device == "cpu" else "bfloat16"}.get(self._dtype, self._dtype)
        try:
            model, told = transformers.AutoModelForSequenceClassification.from_pretrained(
                self._name, output_loading_info=True
            )
            model = model.to(device=device, dtype=getattr(torch, dtype)).eval()
        except (OSError, ValueError, RuntimeError, AssertionError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            fix = f"no reward model can be loaded from there onto {device} ({reason})"
            raise ConfigError("judge.model", self._name, fix) from error
        if model.config.num_labels != 1:
            fix = f"has {model.config.num_labels} labels; a reward model has one (a causal model is none)"
            raise ConfigError("judge.model", self._name, fix)
        if missing := sorted(told["missing_keys"]):
            fix = (
                f"lacks {', '.join(missing[:3])}, which would be drawn at random; give a trained reward model"
            )
            raise ConfigError("judge.model", self._name, fix)
        if model.config.pad_token_id is None:
            model.config.pad_token_id = next(
                id for id in (tokenizer.pad_token_id, tokenizer.eos_token_id, 0) if id is not None
            )
        if self._context_tokens is None:
            self._context_tokens = getattr(model.config, "max_position_embeddings", None)
        self._tokenizer, self._model = tokenizer, model
