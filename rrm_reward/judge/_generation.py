"""One batch through ``model.generate``, each row with its own sampling and its own end.

Rows with different temperatures, limits and deadlines share a batch, so nothing waits for a batch of its
own kind. Sampling is done here by the Gumbel-max trick (the argmax of ``logits / T - log(E)``, E standard
exponential, is a draw from ``softmax(logits / T)``), with a generator of this batch: a trainer in the same
process keeps its random state untouched, which torch's own sampling, from the global generator, would not
allow.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One completion to be drawn.

    Attributes:
        prompt: token ids.
        temperature, top_p: see `Sampling`.
        max_tokens: limit on new tokens, at least 1.
        abandoned: asked before every token; once true, the row ends.
    """

    prompt: list[int]
    temperature: float
    top_p: float
    max_tokens: int
    abandoned: Callable[[], bool]


def generate(model: Any, rows: Sequence[Row], *, pad: int, eos: Sequence[int], seed: int) -> list[list[int]]:
    """New token ids of every row, the ending eos included where there is one.

    Args:
        model: a causal language model of transformers.
        rows: at least one.
        pad: id that fills rows up, on the left.
        eos: ids that end a row.
        seed: of the batch's generator.
    """
    import torch
    from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

    width = max(len(row.prompt) for row in rows)
    ids = torch.tensor([[pad] * (width - len(row.prompt)) + row.prompt for row in rows])
    mask = torch.tensor([[0] * (width - len(row.prompt)) + [1] * len(row.prompt) for row in rows])
    config = GenerationConfig(
        do_sample=False,
        max_new_tokens=max(row.max_tokens for row in rows),
        pad_token_id=pad,
        eos_token_id=list(eos),
    )
    with torch.inference_mode():
        output = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            generation_config=config,
            logits_processor=LogitsProcessorList([_Sampler(rows, model.device, seed)]),
            stopping_criteria=StoppingCriteriaList([_Ends(rows, model.device, width)]),
        )
    ends = frozenset(eos)
    return [
        _until_eos(new[: row.max_tokens], ends)
        for row, new in zip(rows, output[:, width:].tolist(), strict=True)
    ]


def likeliest(model: Any, ids: Sequence[int], n: int) -> tuple[list[float], list[int]]:
    """Log-probabilities (at temperature 1) and ids of the n likeliest tokens after these."""
    import torch

    options: dict[str, Any] = {"use_cache": False}
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        options["logits_to_keep"] = 1  # those of 9,000 positions would take 5 GB
    with torch.inference_mode():
        logits = model(torch.tensor([ids], device=model.device), **options).logits[0, -1]
        values, tokens = logits.float().log_softmax(-1).topk(min(n, logits.shape[-1]))
    return values.tolist(), tokens.tolist()


def _until_eos(ids: list[int], ends: frozenset[int]) -> list[int]:
    for index, token in enumerate(ids):
        if token in ends:
            return ids[: index + 1]
    return ids


class _Sampler:
    """Turns logits into scores whose argmax is a sample, row by row; greedy rows get no noise."""

    def __init__(self, rows: Sequence[Row], device: Any, seed: int) -> None:
        import torch

        temperature = torch.tensor([row.temperature for row in rows], device=device).unsqueeze(1)
        self._greedy = temperature <= 0
        self._any_greedy = bool(self._greedy.any())
        self._divisor = temperature.masked_fill(self._greedy, 1.0)
        self._top_p = torch.tensor([row.top_p for row in rows], device=device).unsqueeze(1)
        self._any_top_p = any(row.top_p < 1 for row in rows)
        self._generator = torch.Generator(device=device).manual_seed(seed)

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        import torch

        scores = scores / self._divisor
        if self._any_top_p:
            ordered, order = scores.sort(dim=-1, descending=True)
            mass = ordered.softmax(dim=-1)
            # A token stays if the mass of the likelier ones is below top_p; so the likeliest always stays.
            beyond = mass.cumsum(dim=-1) - mass >= self._top_p
            scores = scores.masked_fill(beyond.scatter(-1, order, beyond), -torch.inf)
        noise = torch.empty_like(scores).exponential_(generator=self._generator).log_()
        if self._any_greedy:
            noise.masked_fill_(self._greedy, 0.0)
        return scores - noise


class _Ends:
    """Ends each row at its own limit, and those nobody waits for any more."""

    def __init__(self, rows: Sequence[Row], device: Any, width: int) -> None:
        import torch

        self._abandoned = [row.abandoned for row in rows]
        self._limits = torch.tensor([row.max_tokens for row in rows], device=device)
        self._device = device
        self._width = width

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        import torch

        done = self._limits <= input_ids.shape[1] - self._width
        abandoned = [ask() for ask in self._abandoned]
        return done | torch.tensor(abandoned, device=self._device) if any(abandoned) else done
