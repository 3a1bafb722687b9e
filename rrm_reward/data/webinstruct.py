"""WebInstruct-verified as verl rows without answers: prompts to be rewarded by a judge, not by a key.

    rrm-reward data webinstruct train.parquet --limit 20000
    rrm-reward data webinstruct val.parquet --split test --keep-answers

The source has the columns ``id, question, answer, answer_type, category, difficulty``. A row is built field
by field from the question and a few labels, so no answer can slip through by a new column. The answer is read
with ``keep_answers`` only: for validation rows, where a rule may check against it. Training rows have none.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rrm_reward.data._files import read_rows, write_parquet
from rrm_reward.errors import ConfigError
from rrm_reward.seeding import derive_seed

SOURCE = "TIGER-Lab/WebInstruct-verified"
INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."
"""Appended to each question, as the model card of R1-Distill-Qwen asks for."""

LABELS = ("answer_type", "category", "difficulty")
"""Columns that travel in ``extra_info``; they say what kind of answer there is, not which."""


@dataclass(frozen=True, slots=True)
class Written:
    """What became of the source's rows.

    Attributes:
        read: rows of the split.
        empty: dropped for want of a question (or of an answer, where answers are kept).
        duplicates: dropped, as their question came before (up to white space).
        too_long: dropped, longer than ``max_chars``.
        rows: written.
    """

    read: int
    empty: int
    duplicates: int
    too_long: int
    rows: int

    def __str__(self) -> str:
        return (
            f"{self.rows} rows of {self.read} "
            f"({self.empty} empty, {self.duplicates} duplicates and {self.too_long} too long ones dropped)"
        )


def prepare(
    output: str | Path,
    *,
    source: str = SOURCE,
    split: str = "train",
    limit: int | None = None,
    seed: int = 0,
    max_chars: int | None = None,
    instruction: str = INSTRUCTION,
    keep_answers: bool = False,
) -> Written:
    """Read the source, write the rows as Parquet.

    Args:
        output: written whole or not at all.
        source: name on the Hugging Face hub, or a file (Parquet, JSON lines) or folder of the same schema.
        split: of the source; a single file is taken as this split.
        limit: rows to write at most, the first of the shuffled ones.
        seed: of the shuffle.
        max_chars: drop questions longer than this.
        instruction: appended to each question after an empty line; empty for none.
        keep_answers: write answers as ``reward_model.ground_truth``. For validation rows only.

    Returns:
        Counts of what was written and dropped.

    Raises:
        ConfigError: a source that cannot be read, a package that is not installed, a number out of range.
        InputError: a source without the columns that are needed.
    """
    for key, number in (("--limit", limit), ("--max-chars", max_chars)):
        if number is not None and number < 1:
            raise ConfigError(key, number, "must be at least 1")
    needed = ("question", "answer") if keep_answers else ("question",)
    kept, written = select(
        read_rows(source, split, needed),
        max_chars=max_chars,
        limit=limit,
        seed=seed,
        keep_answers=keep_answers,
    )
    write_parquet(
        output,
        [verl_row(index, row, split, instruction, keep_answers=keep_answers) for index, row in kept],
    )
    return written


def select(
    rows: Iterable[Mapping[str, Any]],
    *,
    max_chars: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    keep_answers: bool = False,
) -> tuple[list[tuple[int, Mapping[str, Any]]], Written]:
    """Drop what cannot be used, shuffle the rest; the same rows and seed give the same result anywhere.

    Returns:
        Pairs (position in the source, row), and the counts.
    """
    kept: list[tuple[int, Mapping[str, Any]]] = []
    seen: set[str] = set()
    read = empty = duplicates = too_long = 0
    for read, row in enumerate(rows, 1):
        question = " ".join(_text(row["question"]).split())
        if not question or (keep_answers and not _text(row["answer"])):
            empty += 1
        elif question in seen:
            duplicates += 1
        elif max_chars is not None and len(_text(row["question"])) > max_chars:
            too_long += 1
        else:
            kept.append((read - 1, row))
        seen.add(question)
    random.Random(derive_seed(seed, "webinstruct")).shuffle(kept)
    kept = kept[:limit]
    return kept, Written(read, empty, duplicates, too_long, len(kept))


def verl_row(
    index: int, row: Mapping[str, Any], split: str, instruction: str, *, keep_answers: bool = False
) -> dict[str, Any]:
    """One row as verl's datasets read it.

    Args:
        index: position in the source, by which an evaluation finds the answer again.
        row: of the source.
        split: of the source.
        instruction: see `prepare`.
        keep_answers: see `prepare`.
    """
    question = _text(row["question"])
    labels = {name: _text(row.get(name)) for name in LABELS}
    return {
        "data_source": SOURCE,
        "prompt": [{"role": "user", "content": f"{question}\n\n{instruction}" if instruction else question}],
        "ability": labels["category"] or "reasoning",
        "reward_model": {"style": "rrm", "ground_truth": _text(row["answer"]) if keep_answers else ""},
        "extra_info": {"split": split, "index": index, "id": _text(row.get("id")), **labels},
    }


def _text(value: object) -> str:
    """A cell as text; the hub's ids are numbers in some versions and strings in others."""
    return "" if value is None else str(value).strip()
