"""`make scaling`: measure, draw, and write ``docs/scaling.{json,png,md}``; or the same of your own judge.

python -m recipes.scaling                 # the miniature's judges (some minutes on one core)
python -m recipes.scaling --page-only     # figure and page from the JSON that is there
python -m recipes.scaling --judge http://host:8000/v1 --model RRM-7B --pairs ~/data/rrm_pairs/val.parquet
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from recipes.miniature.evaluate import held_out_pairs, load
from recipes.miniature.make_checkpoints import CHECKPOINTS, Progress, save
from recipes.miniature.task import JudgedPair
from recipes.miniature.train_rrm import RRMRecipe, train_rrm
from recipes.scaling import measure, own, page
from recipes.scaling.measure import LONGEST, Labelled, in_process
from rrm_reward.config import JudgeConfig

DOCS = Path(__file__).parents[2] / "docs"
REMARKS = Path(__file__).parent / "remarks.md"
KS = (1, 3, 5, 9, 16)
CAPS = (1, 2, 4, 6, 8, 10, 12, 14, 16, 20, None)
EARLY_STEPS = 60

DRAWN = 48
"""Votes drawn of each pair in each order; of k votes there are 48 // k electorates."""


def labelled(pair: JudgedPair) -> Labelled:
    """A pair of the miniature, the right response first."""
    right, wrong = (pair.first, pair.second) if pair.better == 1 else (pair.second, pair.first)
    return pair.query, right, wrong


def make_early(folder: Path, seed: int, say: Progress) -> Path:
    """A judge that is neither poor nor good: the base after a part of the RRM's training."""
    model, tokenizer = load(CHECKPOINTS / "base")
    recipe = RRMRecipe(steps=EARLY_STEPS)
    train_rrm(
        model,
        tokenizer,
        recipe,
        seed,
        lambda step, right: say(f"early judge, step {step}: {right:.3f} right"),
    )
    save(model, tokenizer, folder)
    return folder


def measure_all(
    models: dict[str, Path],
    pairs: int,
    votes: int,
    ks: tuple[int, ...],
    caps: tuple[int | None, ...],
    seed: int,
    say: Progress,
) -> dict[str, Any]:
    """Every curve of every judge."""
    judged = [labelled(pair) for pair in held_out_pairs(pairs, seed)]
    judges = {}
    for name, model in models.items():
        config = in_process(model)
        drawn = measure.draw(config, judged, votes, seed=seed)
        judges[name] = {
            "votes": [asdict(point) for point in measure.over_votes(drawn, ks)],
            "both_orders": [asdict(point) for point in measure.over_votes_in_both_orders(drawn, ks)],
            "caps": [asdict(point) for point in measure.over_caps(config, judged, caps, votes=1, seed=seed)],
        }
        say(f"{name}: {judges[name]['votes'][0]['accuracy']:.3f} with one vote")
    return {
        "command": "make scaling",
        "seed": seed,
        "pairs": pairs,
        "drawn": votes,
        "temperature": JudgeConfig().temperature,
        "longest": LONGEST,
        "early_steps": EARLY_STEPS,
        "rrm_steps": RRMRecipe().steps,
        "judges": judges,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure if need be, then draw and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page-only", action="store_true")
    parser.add_argument("--out", type=Path, help="folder (docs, or out/scaling with --judge)")
    parser.add_argument("--limit", type=int, help="pairs at most (150 without --judge)")
    group = parser.add_argument_group("a judge of your own")
    group.add_argument(
        "--judge", metavar="URL[,URL...]", help="OpenAI-compatible server; all below belongs to it"
    )
    group.add_argument("--model", help="its served model name")
    group.add_argument("--pairs", help="val.parquet of rrm-reward data pairs, or a file of preferences")
    group.add_argument("--votes", type=int, nargs="+", help=f"numbers of votes {KS}")
    group.add_argument("--caps", type=int, nargs="+", default=[512, 1024, 2048, 4096], help="thinking tokens")
    group.add_argument("--concurrency", type=int, default=32, help="pairs in work at once (%(default)s)")
    group.add_argument(
        "--max-tokens", type=int, default=8192, help="of a judgment without a cap (%(default)s)"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="further settings of the judge")
    arguments = parser.parse_intermixed_args(argv)
    if arguments.judge:
        if not (arguments.model and arguments.pairs):
            parser.error("--judge needs --model and --pairs")
        arguments.out = arguments.out or Path("out/scaling")
        own.main(arguments, KS)
        return
    arguments.out = arguments.out or DOCS
    torch.set_num_threads(1)
    file = arguments.out / "scaling.json"
    if not arguments.page_only:
        say = Progress()
        with tempfile.TemporaryDirectory() as folder:
            models = {
                "base": CHECKPOINTS / "base",
                "early": make_early(Path(folder), arguments.seed, say),
                "rrm": CHECKPOINTS / "rrm",
            }
            results = measure_all(models, arguments.limit or 150, DRAWN, KS, CAPS, arguments.seed, say)
        file.write_text(page.as_json(results))
    results = json.loads(file.read_text())
    page.draw_curves(results, arguments.out / "scaling.png")
    (arguments.out / "scaling.md").write_text(page.write_page(results, REMARKS.read_text()))


if __name__ == "__main__":
    main()
