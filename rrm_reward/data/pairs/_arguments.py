"""The options of ``rrm-reward data pairs``. Every command of the program reads this, so it imports nothing."""

from __future__ import annotations

from typing import Any

DESCRIPTION = """Makes preference pairs that train a Reward Reasoning Model, and writes them as verl rows.

OUT/train.parquet and OUT/val.parquet hold the judge's own prompt, and the better assistant (1 or 2) as ground truth.
OUT/train_preferences.parquet holds the same pairs as prompt, chosen, rejected, for TRL's reward and DPO trainers.
OUT/manifest.json counts every row of every source, as a pair or by the reason why not.
OUT/responses.jsonl, labels.jsonl and checks.jsonl hold what was asked and checked; a further run does nothing twice.

Sources: skywork-reward (pairs), tulu (prompts: two responses are sampled and labelled), webinstruct, skywork-or1,
big-math, dapo (questions: responses are sampled and checked by rule, one right against one wrong)."""


def add_arguments(parser: Any) -> None:
    """Add them to an argparse parser."""
    add = parser.add_argument
    add("output", metavar="OUT", help="folder; one that exists is continued")
    add(
        "--source",
        action="append",
        required=True,
        metavar="NAME[=PLACE]",
        help="a source, and where it lies if not on the hub: another hub name, a folder or a file; may be repeated",
    )
    add(
        "--exclude",
        action="append",
        default=[],
        metavar="PLACE[@SPLIT][:COLUMN]",
        help="an evaluation set, whose questions are kept out; may be repeated (split test)",
    )
    add(
        "--ngram", type=int, default=13, metavar="N", help="words in a row that make an overlap (%(default)s)"
    )
    add(
        "--limit",
        action="append",
        default=[],
        metavar="[NAME=]N",
        help="pairs of each source, or of one, at which no more is sampled; may be repeated",
    )
    add("--dry-run", action="store_true", help="only say what the sources have and would cost at most")
    add("--val", type=int, metavar="N", help="pairs to hold out (500, but at most a tenth)")
    add(
        "--preferences",
        choices=("final", "full"),
        default="final",
        help="what *_preferences.parquet has of a response: what a judge reads, or its thoughts too (%(default)s)",
    )
    add("--seed", type=int, default=0, help="of every choice (%(default)s)")
    add("--tokenizer", metavar="NAME", help="of the RRM: lengths in tokens, and its own special tokens")
    add(
        "--max-tokens",
        type=int,
        default=4096,
        metavar="N",
        help="of a prompt, with --tokenizer (%(default)s)",
    )
    add("--max-chars", type=int, metavar="N", help="of a prompt (12000 without --tokenizer)")
    add("--samples", type=int, default=8, metavar="N", help="responses to a question (%(default)s)")
    add("--concurrency", type=int, default=64, metavar="N", help="requests in flight (%(default)s)")
    add(
        "--check-seconds",
        type=float,
        default=10.0,
        metavar="S",
        help="after which a check is killed (%(default)s)",
    )
    add("--check-processes", type=int, metavar="N", help="that check answers (one a core)")
    for who, what, tokens in (
        ("sampler", "that writes responses", 8192),
        ("labeller", "that prefers one: an RRM, or any chat model asked with its prompt", 8192),
    ):
        several: dict[str, Any] = {"action": "append", "default": []} if who == "sampler" else {}
        often = "; may be repeated, each with its model" if several else ""
        add(f"--{who}", metavar="URL[,URL...]", help=f"OpenAI-compatible server {what}{often}", **several)
        add(f"--{who}-model", metavar="NAME", help="its served model name", **several)
        add(f"--{who}-temperature", type=float, default=0.6, metavar="T", help="(%(default)s)")
        add(
            f"--{who}-max-tokens", type=int, default=tokens, metavar="N", help="of a completion (%(default)s)"
        )
        add(f"--{who}-timeout", type=float, default=600.0, metavar="S", help="of one try (%(default)s)")
        add(
            f"--{who}-key-env",
            default="OPENAI_API_KEY",
            metavar="VARIABLE",
            help="environment variable with its API key (%(default)s)",
        )
