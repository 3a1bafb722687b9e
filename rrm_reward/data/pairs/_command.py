"""``rrm-reward data pairs``: surveys the sources, says what they cost, makes the pairs, writes the files."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from rrm_reward import __version__
from rrm_reward.data._files import write_parquet
from rrm_reward.data.pairs._build import FAILED, Workshop, balanced_orders, hold_out
from rrm_reward.data.pairs._check import Checker
from rrm_reward.data.pairs._collect import Labeller, Sampler
from rrm_reward.data.pairs._journal import Journal
from rrm_reward.data.pairs._overlap import Contamination, read_evaluation
from rrm_reward.data.pairs._row import Pair, preference_row, verl_row
from rrm_reward.data.pairs._settings import (
    Rendering,
    accounts_of,
    check_numbers,
    labeller_of,
    rendering_of,
    samplers_of,
)
from rrm_reward.data.pairs._sources import Question
from rrm_reward.data.pairs._survey import Account, Survey
from rrm_reward.errors import ConfigError
from rrm_reward.judge._untrusted import final_answer

HELD_OUT = 500
"""Pairs held out if nobody says how many; of few pairs, a tenth."""

Splits = dict[str, list[Pair]]


def run(arguments: argparse.Namespace) -> tuple[str, bool]:
    """Make the pairs, or only say what they would cost.

    Returns:
        What was made, and whether no server failed.

    Raises:
        ConfigError: an option that cannot work, a source or server that cannot be reached.
        InputError: a source of another schema.
    """
    check_numbers(arguments)
    accounts = accounts_of(arguments)
    if arguments.dry_run:
        _survey(arguments, accounts)
        return "Nothing was asked, nothing written.", True
    Path(arguments.output).mkdir(parents=True, exist_ok=True)
    return asyncio.run(_run(arguments, accounts))


def _survey(arguments: argparse.Namespace, accounts: Sequence[Account]) -> None:
    contamination = Contamination(arguments.ngram)
    for given in arguments.exclude:
        for question in read_evaluation(given):
            contamination.add(question)
    survey = Survey(contamination, arguments.seed)
    for account in accounts:
        survey.look(account)
        print(account.cost(arguments.samples), file=sys.stderr)


async def _run(arguments: argparse.Namespace, accounts: Sequence[Account]) -> tuple[str, bool]:
    render, fits, view = rendering_of(arguments)
    full = arguments.preferences == "full"
    async with AsyncExitStack() as stack:
        samplers, labeller = await _servers(arguments, stack)
        _survey(arguments, accounts)
        checker = None
        if samplers and any(account.source.kind is Question for account in accounts):
            verdicts = stack.enter_context(Journal(Path(arguments.output) / "checks.jsonl", durable=False))
            processes = arguments.check_processes or os.cpu_count() or 1
            checker = Checker(verdicts, processes, arguments.check_seconds)
            stack.callback(checker.close)
        workshop = Workshop(
            samplers,
            labeller,
            checker,
            arguments.samples,
            fits,
            (lambda text: text) if full else final_answer,
            arguments.concurrency,
            arguments.seed,
        )
        for account in accounts:
            await workshop.make_pairs(account)
    shown = (lambda text: text) if full else view
    splits = _write(arguments, accounts, render, shown, checker.killed if checker is not None else 0)
    failed = sum(account.dropped[FAILED] for account in accounts)
    asked = sum(paid.asked for paid in (*samplers, labeller) if paid is not None)
    line = (
        f"{arguments.output}: {len(splits['train'])} pairs to train on and {len(splits['val'])} held out, "
        f"of {sum(len(account.rows) for account in accounts)} rows; {asked} requests (manifest.json)"
    )
    return (f"{line}; {failed} failed, run again to ask for them" if failed else line), not failed


async def _servers(
    arguments: argparse.Namespace, stack: AsyncExitStack
) -> tuple[list[Sampler], Labeller | None]:
    """Those that were named, started, with their journals; the stack closes them."""
    out = Path(arguments.output)
    sampling, labelling = samplers_of(arguments), labeller_of(arguments)
    samplers, labeller = [], None
    if sampling:
        responses = stack.enter_context(Journal(out / "responses.jsonl"))
        for server in sampling:
            sampler = Sampler(server, responses)
            stack.push_async_callback(sampler.aclose)
            await sampler.start()
            samplers.append(sampler)
    if labelling is not None:
        labeller = Labeller(labelling, stack.enter_context(Journal(out / "labels.jsonl")))
        stack.push_async_callback(labeller.aclose)
        await labeller.start()
    return samplers, labeller


def _write(
    arguments: argparse.Namespace,
    accounts: Sequence[Account],
    render: Rendering,
    shown: Callable[[str], str],
    checks_killed: int,
) -> Splits:
    """The manifest, then the rows; the pairs of each split.

    Raises:
        ConfigError: there is no pair; the manifest says why.
    """
    out, seed = Path(arguments.output), arguments.seed
    pairs = [pair for account in accounts for pair in account.pairs]
    held_out = min(HELD_OUT, len(pairs) // 10) if arguments.val is None else arguments.val
    splits = dict(zip(("train", "val"), hold_out(pairs, held_out, seed), strict=True))
    files = {split: (out / f"{split}.parquet", out / f"{split}_preferences.parquet") for split in splits}
    for old in (path for both in files.values() for path in both):
        old.unlink(missing_ok=True)  # rows that another run held out may be trained on in this one
    manifest = {**_manifest(arguments, accounts, splits), "checks_killed": checks_killed}
    fresh = out / "manifest.json.new"
    fresh.write_text(json.dumps(manifest, indent=2) + "\n")
    os.replace(fresh, out / "manifest.json")
    if not splits["train"]:
        raise ConfigError("OUT", str(out), "there is no pair to train on; manifest.json counts the reasons")
    for split, chosen in splits.items():
        if chosen:
            rows, preferences = files[split]
            write_parquet(rows, _rows(split, chosen, render, seed))
            write_parquet(preferences, (preference_row(pair, shown) for pair in chosen))
    return splits


def _rows(split: str, pairs: Sequence[Pair], render: Rendering, seed: int) -> Iterator[dict[str, Any]]:
    orders = balanced_orders(pairs, seed)
    for index, (pair, first_is_better) in enumerate(zip(pairs, orders, strict=True)):
        prompt = render(pair, first_is_better)
        yield verl_row(pair, prompt, first_is_better=first_is_better, split=split, index=index)


def _manifest(arguments: argparse.Namespace, accounts: Sequence[Account], splits: Splits) -> dict[str, Any]:
    """What was read, what became of it, and by which settings."""
    settings = {
        name: value for name, value in vars(arguments).items() if name not in ("command", "set", "output")
    }
    ids = {split: [pair.id.rpartition("/")[0] for pair in chosen] for split, chosen in splits.items()}
    return {
        "version": __version__,
        "settings": settings,
        "sources": {
            account.label: {
                "place": account.place,
                "split": account.source.split,
                "read": len(account.rows),
                "dropped": dict(sorted(account.dropped.items())),
                "pairs": len(account.pairs),
                **{split: labels.count(account.label) for split, labels in ids.items()},
            }
            for account in accounts
        },
        **{split: len(chosen) for split, chosen in splits.items()},
    }
