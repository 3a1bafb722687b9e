"""A policy that babbles and prompts to babble about: the smallest things that OpenRLHF can train."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

CHAT = (
    "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{'<|im_start|>assistant\n'}}{% endif %}"
)


@dataclass(frozen=True)
class Assets:
    """Files of a tiny run.

    Attributes:
        model: folder of the policy and its tokenizer.
        prompts: JSON lines.
        evaluation: JSON lines with a reference answer each.
    """

    model: Path
    prompts: Path
    evaluation: Path


def question(i: int) -> str:
    """Of row i of the training prompts."""
    return f"What is {max(i, 1)} plus 3?"


TALK = [
    {"role": "user", "content": "What is 2 plus 3?"},
    {"role": "assistant", "content": "5"},
    {"role": "user", "content": "And plus 4?"},
]


def make_tokenizer(folder: Path) -> None:
    """A byte-level tokenizer with a chat template, written into `folder`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        [question(i) for i in range(10)] * 20,
        trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHAT
    ).save_pretrained(folder)


def make_assets(folder: Path, rows: int) -> Assets:
    """Write everything into `folder`, with so many training prompts; the policy is a random Qwen3 of 2 layers.

    The first two rows ask the same, and are two groups; the last is a talk of three turns.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    assets = Assets(folder / "model", folder / "prompts.jsonl", folder / "evaluation.jsonl")
    make_tokenizer(assets.model)
    tokenizer = AutoTokenizer.from_pretrained(assets.model)
    torch.manual_seed(0)
    Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=32,
            max_position_embeddings=512,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
        )
    ).to(torch.bfloat16).save_pretrained(assets.model)

    def chat(i: int) -> list[dict[str, str]]:
        return TALK if i == rows - 1 else [{"role": "user", "content": question(i)}]

    write_rows(assets.prompts, [{"input": chat(i), "label": ""} for i in range(rows)])
    write_rows(
        assets.evaluation,
        [
            {"input": [{"role": "user", "content": f"How much is {i} plus 3?"}], "label": str(i + 3)}
            for i in range(2)
        ],
    )
    return assets


def write_rows(file: Path, rows: list[dict[str, object]]) -> None:
    """One JSON line for each."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
