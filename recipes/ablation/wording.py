"""Answers that mean the same and are not the same text, as real responses are.

A real policy hardly ever writes the same response twice, so a schedule plays all its matches. The miniature's policy
says three digits, and says them again: of 8 rollouts 3 are distinct before training and 1 after it. The package never
compares identical responses, so a budget of 12 comparisons came to one, and to another number in every row.

Therefore every rollout gets a wording of its own here: a private-use character at its end. No judge can read it (their
tokenizer drops it), so what they say depends on the answer alone; but the texts differ, and every match is played, of
equals too. That is what happens to real responses with equal answers: the judge tosses a coin, and the call is spent.
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import Regex, normalizers
from transformers import PreTrainedTokenizerFast

from recipes.miniature.tokenizer import build_tokenizer, save_tokenizer

_FIRST, _LAST = 0xE000, 0xF8FF
_WORDING = f"[{chr(_FIRST)}-{chr(_LAST)}]"


def worded(answer: str, number: int) -> str:
    """The answer in the wording of this number.

    Args:
        answer: what a policy said.
        number: of the rollout, at most 6,399.
    """
    return answer + chr(_FIRST + number)


def plain(response: str) -> str:
    """The answer without its wording."""
    return response.rstrip("".join(map(chr, range(_FIRST, _LAST + 1))))


def wordless_tokenizer() -> PreTrainedTokenizerFast:
    """The miniature's tokenizer, which drops every wording."""
    tokenizer = build_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace(Regex(_WORDING), "")
    return tokenizer


def save_wordless_tokenizer(folder: Path) -> None:
    """Write it for ``judge.tokenizer``, without a model's config: see `recipes.miniature.tokenizer`."""
    folder.mkdir(parents=True, exist_ok=True)
    save_tokenizer(wordless_tokenizer(), folder)
