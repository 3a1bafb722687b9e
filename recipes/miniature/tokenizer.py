"""The miniature's tokenizer: one token per character, and one per stretch of fixed prompt text.

The judge of the miniature reads the real RRM prompt, 2,300 characters that never change around a few that do. A
unigram vocabulary that holds each unchanging stretch as one piece turns it into about 20 tokens, which is what makes
the real prompt affordable for a model of 100,000 parameters. Every digit stays a token of its own.

Loading: transformers picks a tokenizer class by the model type of the ``config.json`` beside it. For qwen2 it silently
replaces a custom tokenizer by ``Qwen2Tokenizer``; for llama, which our checkpoints use, it takes the class named in
``tokenizer_config.json``. A test holds this down.
"""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from recipes.miniature.task import QUERY_PREFIX
from rrm_reward.judge import build_messages

MAX_POSITIONS = 16_384
"""Far more than the miniature needs, so that the judge's real default of 8,192 new tokens fits as it is."""

END = "<|end|>"
_PAD, _UNKNOWN = "<|pad|>", "<|unknown|>"
_ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
_THINK = ("<think>", "</think>")
_CHARACTERS = ["\n", *map(chr, range(ord(" "), ord("~") + 1))]
_VERDICT_PIECES = ["\\boxed{Assistant "]

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|{{ message['role'] }}|>{{ message['content'] }}<|end|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def fixed_stretches() -> list[str]:
    """The stretches of the judge's prompt between its three blanks, taken from the library's own prompt."""
    blanks = ("\x00QUERY\x00", "\x00FIRST\x00", "\x00SECOND\x00")
    stretches = []
    for message in build_messages(*blanks):
        text = message["content"]
        for blank in blanks:
            text = text.replace(blank, "\x00")
        stretches += [stretch for stretch in text.split("\x00") if stretch]
    return stretches


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer, the same at every call: nothing about it is trained."""
    special = [_PAD, _UNKNOWN, END, *_ROLES]
    pieces = [QUERY_PREFIX, *_VERDICT_PIECES, *fixed_stretches()]
    # Every piece costs the same, so the best segmentation is the shortest one.
    vocabulary = [(piece, -1.0) for piece in [*special, *_THINK, *_CHARACTERS, *pieces]]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=special.index(_UNKNOWN)))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    # As in R1's tokenizer, the marks of the reasoning are tokens, but not special: decoding keeps them.
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in _THINK])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=_PAD,
        unk_token=_UNKNOWN,
        eos_token=END,
        additional_special_tokens=list(_ROLES),
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=MAX_POSITIONS,
        chat_template=CHAT_TEMPLATE,
    )


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Save beside a model, under names that transformers 4 and 5 both know."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    settings["additional_special_tokens"] = settings.pop("extra_special_tokens")
    path.write_text(json.dumps(settings, indent=2) + "\n")
