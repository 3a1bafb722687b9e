"""A policy that babbles and rows to babble about: the smallest things that verl can train."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PROMPTS = 8
"""Rows of the training file. The first two hold the same question: still two groups."""

VALIDATION_ROWS = 3

_CHAT = (
    "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{'<|im_start|>assistant\n'}}{% endif %}"
)


@dataclass(frozen=True)
class Assets:
    """Folders and files of a tiny run.

    Attributes:
        model: a random Qwen3 of 2 layers. verl 0.8 reads the tokenizer from here too.
        tokenizer: the same tokenizer, without a model config beside it.
        train, val: parquet files; training rows have no answer.
    """

    model: Path
    tokenizer: Path
    train: Path
    val: Path


def question(i: int) -> str:
    """Of training row i."""
    return f"What is {max(i, 1)} plus 3?"


def validation_question(i: int) -> str:
    """Of validation row i; no training row asks it."""
    return f"How much is {i} plus 3?"


def make_assets(folder: Path) -> Assets:
    """Write everything into `folder`."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import pyarrow
    import pyarrow.parquet
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    assets = Assets(folder / "model", folder / "tokenizer", folder / "train.parquet", folder / "val.parquet")
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
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=_CHAT
    )
    tokenizer.save_pretrained(assets.model)
    tokenizer.save_pretrained(assets.tokenizer)
    torch.manual_seed(0)
    Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            max_position_embeddings=256,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
        )
    ).save_pretrained(assets.model)

    def row(i: int, question: str, split: str, answer: str) -> dict[str, object]:
        return {
            "data_source": "rrm/babble",
            "prompt": [{"role": "user", "content": question}],
            "ability": "none",
            "reward_model": {"style": "rrm", "ground_truth": answer},
            "extra_info": {"split": split, "index": i},
        }

    for file, rows in (
        (assets.train, [row(i, question(i), "train", "") for i in range(PROMPTS)]),
        (assets.val, [row(i, validation_question(i), "val", str(i + 3)) for i in range(VALIDATION_ROWS)]),
    ):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    return assets
