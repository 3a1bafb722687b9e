"""Train a scalar reward model with TRL's `RewardTrainer`, in the layout that `judge.kind: scalar` reads.

    python -m recipes.scalar_rm.train --pairs ~/data/rrm_pairs/train_preferences.parquet \
        --model Qwen/Qwen2.5-7B-Instruct --output ~/models/scalar_rm --config recipes/scalar_rm/rm_7b.yaml

The pairs are those that `rrm-reward data pairs` writes beside the RRM's own (`docs/pairs.md`), or any file of
conversational ``prompt``, ``chosen``, ``rejected``. The config holds fields of `trl.RewardConfig`; ``key=value``
arguments win over it.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from datasets import Dataset, load_dataset
from trl import RewardConfig, RewardTrainer


def train(
    model: str,
    pairs: Dataset,
    output: str | Path,
    settings: Mapping[str, Any],
    held_out: Dataset | None = None,
) -> dict[str, float]:
    """Train and save model and tokenizer.

    Args:
        model: folder or hub name of a causal model; it gets a head of one label.
        pairs: conversational ``prompt``, ``chosen``, ``rejected``.
        output: folder, made if need be; relative ones are taken from here, wherever the trainer goes.
        settings: fields of `RewardConfig`.
        held_out: pairs to evaluate on in the end, or None.

    Returns:
        TRL's metrics of the last log, and of the evaluation if there is one; `pairs_too_long` of the `pairs` were left
        out, for they are longer than `max_length`.
    """
    folder = Path(output).expanduser().resolve()
    config = RewardConfig(output_dir=str(folder), **settings)
    columns = ("prompt", "chosen", "rejected")
    trainer = RewardTrainer(
        model=model,
        args=config,
        train_dataset=pairs.select_columns(columns),
        eval_dataset=None if held_out is None else held_out.select_columns(columns),
    )
    metrics = dict(trainer.train().metrics)
    # TRL leaves out pairs that are longer than max_length, and says so nowhere
    metrics["pairs"], metrics["pairs_too_long"] = len(pairs), len(pairs) - len(trainer.train_dataset)
    if held_out is not None:
        metrics.update(trainer.evaluate())
    trainer.save_model(str(folder))  # the tokenizer with it
    return metrics


def read_settings(file: str | Path | None, overrides: Sequence[str]) -> dict[str, Any]:
    """Fields of `RewardConfig` from a YAML file and ``key=value``.

    Raises:
        SystemExit: a key that `RewardConfig` does not have, or an argument that is no ``key=value``.
    """
    settings: dict[str, Any] = {}
    if file is not None:
        settings.update(yaml.safe_load(Path(file).expanduser().read_text()) or {})
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise SystemExit(f"{override}: write key=value, for example learning_rate=1e-5")
        settings[key] = yaml.safe_load(value)
    unknown = [key for key in settings if key not in RewardConfig.__dataclass_fields__ or key == "output_dir"]
    if unknown:
        raise SystemExit(f"{', '.join(unknown)}: no setting of trl.RewardConfig (--output is the folder)")
    # YAML reads 1e-5, without a point, as a text.
    number = {"learning_rate", "weight_decay", "center_rewards_coefficient"}
    return {key: float(value) if key in number else value for key, value in settings.items()}


def read_pairs(place: str) -> Dataset:
    """Pairs from a Parquet or JSON-lines file, or a hub name."""
    path = Path(place).expanduser()
    if path.is_file():
        kind = "parquet" if path.suffix == ".parquet" else "json"
        return load_dataset(kind, data_files=str(path), split="train")
    return load_dataset(place, split="train")


def main(argv: Sequence[str] | None = None) -> None:
    """Train as the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", required=True, help="file or hub name")
    parser.add_argument("--val-pairs", help="held-out pairs, for the accuracy in the end")
    parser.add_argument("--model", required=True, help="folder or hub name of a causal model")
    parser.add_argument("--output", required=True, help="folder of the reward model")
    parser.add_argument("--config", help="fields of trl.RewardConfig, as YAML")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    arguments = parser.parse_intermixed_args(argv)
    held_out = read_pairs(arguments.val_pairs) if arguments.val_pairs else None
    settings = read_settings(arguments.config, arguments.overrides)
    metrics = train(arguments.model, read_pairs(arguments.pairs), arguments.output, settings, held_out)
    print("\n".join(f"{name} {value}" for name, value in sorted(metrics.items())))


if __name__ == "__main__":
    main()
