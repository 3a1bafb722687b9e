"""`make scaling`: measure, draw, and write ``docs/scaling.{json,png,md}``.

python -m recipes.scaling                 # measures (some minutes on one core)
python -m recipes.scaling --page-only     # figure and page from the JSON that is there
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from recipes.miniature.evaluate import held_out_pairs, load
from recipes.miniature.make_checkpoints import CHECKPOINTS, Progress, save
from recipes.miniature.train_rrm import RRMRecipe, train_rrm
from recipes.scaling import measure, page
from rrm_reward.config import JudgeConfig

DOCS = Path(__file__).parents[2] / "docs"
REMARKS = Path(__file__).parent / "remarks.md"
KS = (1, 3, 5, 9, 16)
CAPS = (1, 2, 4, 6, 8, 10, 12, 14, 16, 20, None)
EARLY_STEPS = 60


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
    judged = held_out_pairs(pairs, seed)
    judges = {}
    for name, model in models.items():
        drawn = measure.draw(model, judged, votes, seed=seed)
        judges[name] = {
            "votes": [asdict(point) for point in measure.over_votes(drawn, ks)],
            "both_orders": [asdict(point) for point in measure.over_votes_in_both_orders(drawn, ks)],
            "caps": [asdict(point) for point in measure.over_caps(model, judged, caps, votes=1, seed=seed)],
        }
        say(f"{name}: {judges[name]['votes'][0]['accuracy']:.3f} with one vote")
    return {
        "command": "make scaling",
        "seed": seed,
        "pairs": pairs,
        "drawn": votes,
        "temperature": JudgeConfig().temperature,
        "longest": measure.LONGEST,
        "early_steps": EARLY_STEPS,
        "rrm_steps": RRMRecipe().steps,
        "judges": judges,
    }


def main() -> None:
    """Measure if need be, then draw and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page-only", action="store_true")
    parser.add_argument("--out", type=Path, default=DOCS)
    arguments = parser.parse_args()
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
            results = measure_all(models, arguments.pairs, measure.DRAWN, KS, CAPS, arguments.seed, say)
        file.write_text(json.dumps(results, indent=1) + "\n")
    results = json.loads(file.read_text())
    page.draw_curves(results, arguments.out / "scaling.png")
    (arguments.out / "scaling.md").write_text(page.write_page(results, REMARKS.read_text()))


if __name__ == "__main__":
    main()
