"""Remake `checkpoints/`: the base by fine-tuning, the RRM from it by GRPO on verdicts, and what they measure.

    python -m recipes.miniature.make_checkpoints          # from the repository's root; one thread, a few minutes

Everything random follows from ``--seed``. The same seed gives the same files on the same machine and versions of
torch; elsewhere rounding differs, and with it the weights, but not what they can do.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch
import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from recipes.miniature.base import BaseRecipe, build_model, train_base
from recipes.miniature.evaluate import held_out_pairs, load, mistake_pairs, score_judge, score_policy
from recipes.miniature.tokenizer import build_tokenizer, save_tokenizer
from recipes.miniature.train_rrm import RRMRecipe, train_rrm

CHECKPOINTS = Path(__file__).parent / "checkpoints"


class Progress:
    """Prints lines that begin with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self._start

    def __call__(self, line: str) -> None:
        print(f"[{self.seconds:5.0f} s] {line}", flush=True)


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """A folder that the Auto classes, verl and vLLM load as it is."""
    model.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)


def measure(checkpoints: Path, seed: int) -> dict[str, object]:
    """Scores of the checkpoints as they lie on disk."""
    base, tokenizer = load(checkpoints / "base")
    rrm, _ = load(checkpoints / "rrm")
    made_up = held_out_pairs(400, seed)
    mistakes = mistake_pairs(base, tokenizer, 400, seed)
    scores: dict[str, object] = {"policy": {"base": asdict(score_policy(base, tokenizer, seed=seed))}}
    for name, judge in (("base", base), ("rrm", rrm)):
        scores[f"judge_{name}"] = {
            source: [
                asdict(score_judge(judge, tokenizer, pairs, temperature=t, seed=seed)) for t in (0.6, 1.0)
            ]
            for source, pairs in (("made_up_mistakes", made_up), ("base_policy_mistakes", mistakes))
        }
    return scores


def make_checkpoints(checkpoints: Path, seed: int, base_recipe: BaseRecipe, rrm_recipe: RRMRecipe) -> None:
    """Make both models, save them, measure them, and write ``metrics.json`` beside them."""
    say = Progress()
    tokenizer = build_tokenizer()
    model = build_model(tokenizer, seed)
    say(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens")
    train_base(
        model,
        tokenizer,
        base_recipe,
        seed,
        lambda step, loss: say(f"base, step {step} of {base_recipe.steps}: loss {loss:.3f}"),
    )
    save(model, tokenizer, checkpoints / "base")
    base_seconds = say.seconds
    train_rrm(
        model,
        tokenizer,
        rrm_recipe,
        seed,
        lambda step, right: say(f"RRM, step {step} of {rrm_recipe.steps}: {right:.3f} of the verdicts right"),
    )
    save(model, tokenizer, checkpoints / "rrm")
    rrm_seconds = say.seconds - base_seconds
    say("measuring")
    metrics = {
        "command": " ".join(["python -m recipes.miniature.make_checkpoints", *sys.argv[1:]]),
        "seed": seed,
        "recipes": {"base": asdict(base_recipe), "rrm": asdict(rrm_recipe)},
        "parameters": sum(p.numel() for p in model.parameters()),
        "seconds": {"base": round(base_seconds, 1), "rrm": round(rrm_seconds, 1)},
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        **measure(checkpoints, seed),
    }
    (checkpoints / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    say(f"wrote {checkpoints}/base, rrm and metrics.json")


def main() -> None:
    """Parse the command line and make the checkpoints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=CHECKPOINTS, help="folder (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # results depend on it, and two threads gain nothing at this size
    make_checkpoints(arguments.output, arguments.seed, BaseRecipe(), RRMRecipe())


if __name__ == "__main__":
    main()
