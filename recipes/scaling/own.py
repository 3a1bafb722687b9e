"""The same curves for a judge of one's own, over HTTP, on the pairs that were held out when it was trained.

    python -m recipes.scaling --judge http://host:8000/v1 --model RRM-7B --pairs ~/data/rrm_pairs/val.parquet

Each pair costs, in each order, as many judgments as the largest number of votes, and one for each cap. Written to the
output folder: ``scaling.json``, ``scaling.png``, ``scaling.md``.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from recipes.scaling import measure, page
from recipes.scaling.measure import Labelled
from rrm_reward.config import load
from rrm_reward.seeding import derive_seed


def read_pairs(place: str | Path, limit: int | None = None, seed: int = 0) -> list[Labelled]:
    """Pairs of ``rrm-reward data pairs``, or any Parquet file with ``prompt``, ``chosen``, ``rejected``.

    Args:
        place: the preferences, or the verl rows beside which they lie (``val.parquet``).
        limit: pairs at most, drawn at random.
        seed: of the draw.

    Raises:
        SystemExit: there are no preferences.
    """
    import pyarrow.parquet

    path = Path(place).expanduser()
    if not path.is_file():
        raise SystemExit(f"{path}: no such file")
    if "chosen" not in pyarrow.parquet.read_schema(path).names:
        beside = path.with_name(f"{path.stem}_preferences.parquet")
        if not beside.is_file():
            raise SystemExit(f"{path} has no column chosen, and there is no {beside}")
        path = beside
    rows = pyarrow.parquet.read_table(path, columns=["prompt", "chosen", "rejected"]).to_pylist()
    if limit is not None and limit < len(rows):
        rows = random.Random(derive_seed(seed, "pairs")).sample(rows, limit)
    if len(rows) < 2:
        raise SystemExit(f"{path} has {len(rows)} pairs: two are the least that have an error")
    return [(row["prompt"], row["chosen"][-1]["content"], row["rejected"][-1]["content"]) for row in rows]


def measure_own(
    arguments: argparse.Namespace, ks: Sequence[int], caps: Sequence[int | None]
) -> dict[str, Any]:
    """Both curves of one judge, after a line on what they cost."""
    config = load(
        overrides=[
            f"judge.urls=[{arguments.judge}]",
            f"judge.model={arguments.model}",
            f"judge.max_tokens={arguments.max_tokens}",
            *arguments.overrides,
        ]
    ).judge
    pairs = read_pairs(arguments.pairs, arguments.limit, arguments.seed)
    calls = 2 * len(pairs) * (max(ks) + len(caps))
    print(
        f"{len(pairs)} pairs: {calls} judgments of up to {config.max_tokens} tokens",
        file=sys.stderr,
        flush=True,
    )
    width = arguments.concurrency
    drawn = measure.draw(config, pairs, max(ks), seed=arguments.seed, width=width)
    curves = {
        "votes": measure.over_votes(drawn, ks),
        "both_orders": measure.over_votes_in_both_orders(drawn, ks),
        "caps": measure.over_caps(config, pairs, caps, votes=1, seed=arguments.seed, width=width),
    }
    return {
        "pairs": len(pairs),
        "place": str(arguments.pairs),
        "temperature": config.temperature,
        "longest": config.max_tokens,
        "judges": {
            arguments.model: {name: [asdict(point) for point in curve] for name, curve in curves.items()}
        },
    }


def main(arguments: argparse.Namespace, ks: Sequence[int]) -> None:
    """Measure, draw and write into ``arguments.out``."""
    results = measure_own(arguments, arguments.votes or ks, [*arguments.caps, None])
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    (out / "scaling.json").write_text(page.as_json(results))
    page.draw_curves(results, out / "scaling.png")
    text = page.write_own_page(results)
    (out / "scaling.md").write_text(text)
    print(text)
