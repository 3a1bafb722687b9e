"""Completions from a model in this process, with dynamic batching: the judge of a laptop, and of tests.

    complete() --> queue --(while one batch generates, the next gathers)--> batch --> worker --> futures

The event loop is never blocked: chats are rendered, tokenised, generated and decoded in one worker thread.
A batch starts as soon as the worker is free; requests that are made in the same tick of the loop share it.
A cancelled request leaves the queue, or ends at its next token.

The results of a batch depend on the backend's seed, the batch's number and its rows: the same requests in
the same ticks give the same completions.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from rrm_reward.errors import ConfigError
from rrm_reward.judge._backend import BackendError, Completion, Message, Sampling
from rrm_reward.judge._continuation import TOP
from rrm_reward.judge._generation import Row, generate, likeliest
from rrm_reward.judge._tokenizer import load_tokenizer
from rrm_reward.seeding import derive_seed

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    messages: Sequence[Message]
    n: int
    sampling: Sampling
    future: asyncio.Future[list[Completion]]


class TransformersBackend:
    """A `Backend` around ``AutoModelForCausalLM``.

    Args:
        model: folder or hub name.
        tokenizer: folder or hub name; None for the model's own.
        device: torch device; None for ``cuda`` (CUDA or ROCm) if there is one, else ``cpu``.
        max_batch: rows of one generate() call; halved for good when memory runs out.
        dtype: torch dtype by name; ``auto`` is bfloat16 on a GPU, float32 on a CPU.
        context_tokens: the context length; None takes the model's ``max_position_embeddings``.
        seed: of all sampling.

    Attributes:
        tokenizer: the loaded tokenizer; None before `start`.
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
        seed: int = 0,
    ) -> None:
        self.tokenizer: Any = None
        self._model: Any = None
        self._name = model
        self._tokenizer_name = tokenizer
        self._device = device
        self._max_batch = max_batch
        self._dtype = dtype
        self._context_tokens = context_tokens
        self._seed = seed
        self._pad = 0
        self._eos: tuple[int, ...] = ()
        self._batches = 0
        self._queue: deque[_Request] = deque()
        self._batch: list[_Request] = []
        self._runner: asyncio.Task[None] | None = None
        self._worker: ThreadPoolExecutor | None = None

    @property
    def context_tokens(self) -> int | None:
        """The judge's context length; known after `start`."""
        return self._context_tokens

    async def start(self) -> None:
        """See `Backend.start`: loads the model and its tokenizer, in the worker thread."""
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="rrm-judge")
        try:
            await asyncio.get_running_loop().run_in_executor(self._worker, self._load)
        except ConfigError:
            await self.aclose()
            raise

    async def complete(self, messages: Sequence[Message], n: int, sampling: Sampling) -> list[Completion]:
        """See `Backend.complete`."""
        if self._model is None:
            raise BackendError("the model is not loaded: await start() first")
        loop = asyncio.get_running_loop()
        if self._runner is None or self._runner.done():
            self._runner = loop.create_task(self._run(), name="rrm judge batches")
        elif self._runner.get_loop() is not loop:
            raise RuntimeError("this backend is serving another event loop; make one backend for each loop")
        request = _Request(messages, n, sampling, loop.create_future())
        self._queue.append(request)
        return await request.future

    async def prepare(self, endings: Sequence[str]) -> None:
        """See `ContinuingBackend.prepare`: nothing to check."""

    async def next_token(self, completion: Completion, ending: str) -> Mapping[str, float]:
        """See `ContinuingBackend.next_token`; takes its turn with the batches."""
        if self._model is None or self._worker is None:
            raise BackendError("the model is not loaded: await start() first")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._worker, self._look_ahead, completion.sequence, ending)

    async def aclose(self) -> None:
        """See `Backend.aclose`. Requests in flight fail; the batch under way ends at its next token."""
        for request in (*self._queue, *self._batch):
            if not request.future.done():
                request.future.set_exception(BackendError("the backend is closed"))
        self._queue.clear()
        runner, self._runner = self._runner, None
        if runner is not None and runner.get_loop() is asyncio.get_running_loop():
            await asyncio.wait([runner])
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.shutdown(wait=False)
        self._model = None

    async def _run(self) -> None:
        """Batch after batch, until nothing waits."""
        loop = asyncio.get_running_loop()
        while self._queue:
            # Whoever starts in this tick, or is woken by what starts in it, joins the batch.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            self._batch = self._take()
            if not self._batch:
                continue
            self._batches += 1
            try:
                results = await loop.run_in_executor(self._worker, self._complete, self._batch, self._batches)
            except Exception as error:
                logger.exception("a batch of %d requests to the judge failed", len(self._batch))
                reason = f"{type(error).__name__}: {error}"
                results = [BackendError(reason) for _ in self._batch]
            for request, result in zip(self._batch, results, strict=True):
                if request.future.done():
                    continue
                if isinstance(result, BackendError):
                    request.future.set_exception(result)
                else:
                    request.future.set_result(result)
            self._batch = []

    def _take(self) -> list[_Request]:
        """The requests of the next batch: the oldest, up to the limit of rows, without the cancelled ones."""
        batch: list[_Request] = []
        rows = 0
        while self._queue:
            request = self._queue[0]
            if not request.future.done():
                if batch and rows + request.n > self._max_batch:
                    break
                batch.append(request)
                rows += request.n
            self._queue.popleft()
        return batch

    def _complete(self, batch: Sequence[_Request], number: int) -> list[list[Completion] | BackendError]:
        """In the worker: each request's completions, or why there are none."""
        texts = [
            self.tokenizer.apply_chat_template(request.messages, add_generation_prompt=True, tokenize=False)
            for request in batch
        ]
        prompts = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        rows: list[Row] = []
        for request, prompt in zip(batch, prompts, strict=True):
            sampling, limit = request.sampling, request.sampling.max_tokens
            if self._context_tokens is not None:
                limit = min(limit, self._context_tokens - len(prompt))
            row = Row(prompt, sampling.temperature, sampling.top_p, limit, request.future.done)
            rows += [row] * (request.n if limit > 0 else 0)
        seeds = [-1 if request.sampling.seed is None else request.sampling.seed for request in batch]
        parts = seeds if any(seed >= 0 for seed in seeds) else ["batch", number]
        new = iter(self._generate(rows, derive_seed(self._seed, *parts)))
        results: list[list[Completion] | BackendError] = []
        for request, prompt in zip(batch, prompts, strict=True):
            if self._context_tokens is not None and len(prompt) >= self._context_tokens:
                results.append(
                    BackendError(f"a prompt of {len(prompt)} tokens exceeds {self._context_tokens}")
                )
            else:
                drawn = [next(new) for _ in range(request.n)]
                results.append([self._read(request, prompt, ids, i == 0) for i, ids in enumerate(drawn)])
        return results

    def _look_ahead(self, sequence: Sequence[int], ending: str) -> dict[str, float]:
        """In the worker: log-probabilities of the likeliest tokens after a sequence and an ending."""
        ids = [*sequence, *self.tokenizer(ending, add_special_tokens=False)["input_ids"]]
        if self._context_tokens is not None and len(ids) >= self._context_tokens:
            raise BackendError(f"{len(ids)} tokens leave no room for a verdict in {self._context_tokens}")
        values, tokens = likeliest(self._model, ids, TOP)
        pairs = zip((self.tokenizer.decode([token]) for token in tokens), values, strict=True)
        return dict(reversed(list(pairs)))  # parts of a character share a text: the likeliest of them stays

    def _generate(self, rows: Sequence[Row], seed: int) -> list[list[int]]:
        """New ids of all rows, in calls of at most `max_batch`; where memory runs out, of half as many."""
        import torch

        new: list[list[int]] = []
        while len(new) < len(rows):
            part = rows[len(new) : len(new) + self._max_batch]
            try:
                drawn = generate(self._model, part, pad=self._pad, eos=self._eos, seed=seed + len(new))
            except (RuntimeError, MemoryError) as error:
                # torch.OutOfMemoryError is a RuntimeError; a CPU allocator raises a plain one.
                if len(part) == 1 or not _out_of_memory(error):
                    raise
                drawn = []
            if drawn:
                new += drawn
                continue
            # Only here, outside of the handler, is the failed call's memory no longer held by its traceback.
            self._max_batch = max(1, len(part) // 2)
            logger.warning("out of memory with %d prompts; going on with %d", len(part), self._max_batch)
            torch.cuda.empty_cache()
        return new

    def _read(self, request: _Request, prompt: list[int], ids: list[int], first: bool) -> Completion:
        """A completion from its ids. Special tokens stay (``</think>`` may be one), the last eos not."""
        stopped = bool(ids) and ids[-1] in self._eos
        text = self.tokenizer.decode(
            ids[:-1] if stopped else ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        sequence = (*prompt, *ids) if request.sampling.continuable and not stopped else ()
        finish_reason = "stop" if stopped else "length"
        return Completion(text, finish_reason, len(prompt) if first else 0, len(ids), sequence=sequence)

    def _load(self) -> None:
        if self._model is not None:
            return
        key = "judge.model" if self._tokenizer_name is None else "judge.tokenizer"
        tokenizer = load_tokenizer(self._tokenizer_name or self._name, key)
        model = _load_model(self._name, self._device, self._dtype)
        known = model.get_input_embeddings().num_embeddings
        if len(tokenizer) > known:
            fix = f"has {len(tokenizer)} tokens, the model {known}; give the judge's own tokenizer"
            raise ConfigError(key, self._tokenizer_name or self._name, fix)
        eos = model.generation_config.eos_token_id
        ends = {tokenizer.eos_token_id, *(eos if isinstance(eos, list) else [eos])} - {None}
        if not ends:
            raise ConfigError(
                key, self._tokenizer_name or self._name, "names no token that ends a completion"
            )
        self._eos = tuple(sorted(ends))
        self._pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self._eos[0]
        if self._context_tokens is None:
            self._context_tokens = getattr(model.config, "max_position_embeddings", None)
        # What the model's own generation config says of sampling would be merged into ours.
        model.generation_config = type(model.generation_config)()
        self.tokenizer, self._model = tokenizer, model


def _load_model(name: str, device: str | None, dtype: str) -> Any:
    import torch
    import transformers

    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if dtype == "auto":
        dtype = "float32" if device == "cpu" else "bfloat16"
    # The argument was renamed in 4.56, and the old name warns in 5.
    major, minor = transformers.__version__.split(".")[:2]
    argument = "dtype" if (int(major), int(minor)) >= (4, 56) else "torch_dtype"
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(name, **{argument: getattr(torch, dtype)})
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError("judge.model", name, f"no model can be loaded from there ({reason})") from error
    try:
        return model.to(device).eval()
    except (RuntimeError, AssertionError) as error:
        raise ConfigError("judge.device", device, f"the model cannot go there ({error})") from error


def _out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text
