"""Batched chat sampling from a small model: messages in, completions (tokens and text) out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rrm_reward.judge import Message

Messages = Sequence[Message]

_ROWS_PER_BATCH = 512


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion.

    Attributes:
        prompt: token ids of the prompt.
        completion: token ids that were drawn, the end token included where the model got to it.
        ended: whether the model got to the end token.
        text: the completion as text, without special tokens, as trainers and servers decode it.
    """

    prompt: list[int]
    completion: list[int]
    ended: bool
    text: str

    @property
    def length(self) -> int:
        """Tokens before the end token: 3 for a right answer."""
        return len(self.completion) - self.ended


def ask(query: str) -> Messages:
    """The policy's prompt: the query alone."""
    return [{"role": "user", "content": query}]


def encode_prompt(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> list[int]:
    """Token ids of the messages through the chat template, ready for the assistant's turn."""
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return tokenizer.encode(text, add_special_tokens=False)


def pad(rows: Sequence[Sequence[int]], fill: int, *, left: bool) -> torch.Tensor:
    """Rows of unequal length as one tensor of shape (rows, longest)."""
    longest = max(map(len, rows))
    padding = [[fill] * (longest - len(row)) for row in rows]
    return torch.tensor(
        [[*gap, *row] if left else [*row, *gap] for gap, row in zip(padding, rows, strict=True)]
    )


def _encode_once(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Messages]) -> list[list[int]]:
    """Token ids of every prompt; a prompt that is repeated for its samples is encoded once."""
    known: dict[tuple[str, ...], list[int]] = {}
    encoded = []
    for messages in prompts:
        key = tuple(part for message in messages for part in (message["role"], message["content"]))
        if key not in known:
            known[key] = encode_prompt(tokenizer, messages)
        encoded.append(known[key])
    return encoded


@torch.inference_mode()
def sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Messages],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
) -> list[Sample]:
    """One completion a prompt (repeat a prompt for more), drawn with torch's global generator.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer, with a chat template.
        prompts: chat messages each.
        max_new_tokens: limit on the completion.
        temperature: 0 is greedy.
    """
    model.eval()
    greedy = {"do_sample": False}
    drawing = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    how = drawing if temperature else greedy
    all_encoded = _encode_once(tokenizer, prompts)
    samples: list[Sample] = []
    for start in range(0, len(prompts), _ROWS_PER_BATCH):
        encoded = all_encoded[start : start + _ROWS_PER_BATCH]
        input_ids = pad(encoded, tokenizer.pad_token_id, left=True)
        drawn = model.generate(
            input_ids=input_ids,
            attention_mask=(input_ids != tokenizer.pad_token_id).long(),
            max_new_tokens=max_new_tokens,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            **how,
        )
        for prompt, row in zip(encoded, drawn[:, input_ids.shape[1] :].tolist(), strict=True):
            ended = tokenizer.eos_token_id in row
            said = row[: row.index(tokenizer.eos_token_id)] if ended else row
            text = tokenizer.decode(said, skip_special_tokens=True)
            samples.append(Sample(prompt, row[: len(said) + ended], ended, text))
    return samples
