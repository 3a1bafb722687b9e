"""verl's parquet files for the miniature: training prompts without answers, held-out prompts with them.

    python -m recipes.miniature.data out/data

The training file holds no answer anywhere: the reward must come from the judge. Answers of the validation file are
for measurement only.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from recipes.miniature.sampling import ask
from recipes.miniature.task import all_queries, right_answer

DATA_SOURCE = "sort_digits"


def row(query: str, split: str, index: int, answer: str) -> dict[str, Any]:
    """One row of verl's schema; `answer` is empty where nobody may know it."""
    return {
        "data_source": DATA_SOURCE,
        "prompt": list(ask(query)),
        "ability": "sorting",
        "reward_model": {"style": "rrm", "ground_truth": answer},
        "extra_info": {"split": split, "index": index},
    }


def write_data(folder: str | Path, *, seed: int = 0, training_prompts: int = 880) -> tuple[Path, Path]:
    """Write ``train.parquet`` and ``val.parquet``.

    Args:
        folder: made if need be.
        seed: of the choice and order of the training prompts.
        training_prompts: how many; prompts repeat beyond the 900 that there are.

    Returns:
        The two paths, training first.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    known = all_queries(held_out=False)
    rng = random.Random(seed)
    queries: list[str] = []
    while len(queries) < training_prompts:
        queries += rng.sample(known, k=min(len(known), training_prompts - len(queries)))
    train = [row(query, "train", index, answer="") for index, query in enumerate(queries)]
    held_out = all_queries(held_out=True)
    val = [row(query, "val", index, right_answer(query)) for index, query in enumerate(held_out)]
    paths = folder / "train.parquet", folder / "val.parquet"
    for path, rows in zip(paths, (train, val), strict=True):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return paths


def main() -> None:
    """Write the files and say where they are."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for path in write_data(arguments.folder, seed=arguments.seed):
        print(path)


if __name__ == "__main__":
    main()
