"""What the three trainings share: a pass over completions, the SFT loss, and one GRPO update."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from recipes.miniature.sampling import Sample, pad

_GRADIENT_NORM = 1.0


def _completion_log_probs(
    model: PreTrainedModel, prompts: Sequence[list[int]], completions: Sequence[list[int]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of the next token and a 0/1 mask of completion tokens, both (rows, longest - 1)."""
    rows = [prompt + completion for prompt, completion in zip(prompts, completions, strict=True)]
    input_ids = pad(rows, model.config.pad_token_id, left=False)
    attention = pad([[1] * len(row) for row in rows], 0, left=False)
    is_completion = pad(
        [
            [0] * len(prompt) + [1] * len(completion)
            for prompt, completion in zip(prompts, completions, strict=True)
        ],
        0,
        left=False,
    )
    logits = model(input_ids=input_ids, attention_mask=attention).logits[:, :-1].float()
    log_probs = torch.log_softmax(logits, dim=-1).gather(2, input_ids[:, 1:, None])[..., 0]
    return log_probs, is_completion[:, 1:].float()


def make_optimizer(
    model: PreTrainedModel, learning_rate: float, weight_decay: float = 0.0
) -> torch.optim.AdamW:
    """AdamW with a second moment that follows a run of a few hundred steps."""
    return torch.optim.AdamW(
        model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=weight_decay
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Change the learning rate from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def _step(model: PreTrainedModel, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), _GRADIENT_NORM)
    optimizer.step()


def imitate(
    model: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    prompts: Sequence[list[int]],
    completions: Sequence[list[int]],
) -> float:
    """One SFT step on the completions; returns the loss, the mean over completion tokens."""
    model.train()
    log_probs, mask = _completion_log_probs(model, prompts, completions)
    loss = -(log_probs * mask).sum() / mask.sum()
    _step(model, optimizer, loss)
    return loss.item()


def group_advantages(rewards: Sequence[float], group_size: int) -> list[float]:
    """GRPO's advantages: rewards standardised within each group of `group_size` neighbours; 0 where all are equal."""
    groups = torch.tensor(rewards, dtype=torch.float64).view(-1, group_size)
    centred = groups - groups.mean(dim=1, keepdim=True)
    return (centred / (groups.std(dim=1, keepdim=True) + 1e-6)).flatten().tolist()


def reinforce(
    model: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    samples: Sequence[Sample],
    advantages: Sequence[float],
) -> None:
    """One on-policy GRPO step: every sample is used once, so the probability ratio is 1 and nothing is clipped.

    The loss is the mean over samples of the mean over a sample's tokens of -advantage * ratio, without a KL term.
    """
    kept = [(s, a) for s, a in zip(samples, advantages, strict=True) if abs(a) > 1e-6]
    if not kept:
        return
    model.train()
    log_probs, mask = _completion_log_probs(
        model, [s.prompt for s, _ in kept], [s.completion for s, _ in kept]
    )
    ratio = torch.exp(log_probs - log_probs.detach())
    per_sample = (ratio * mask).sum(dim=1) / mask.sum(dim=1)
    _step(model, optimizer, -(per_sample * torch.tensor([a for _, a in kept])).sum() / len(samples))
