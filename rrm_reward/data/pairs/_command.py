"""``rrm-reward data pairs``: reads its options, runs `_build`, writes the files."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from rrm_reward import __version__
from rrm_reward.data._files import write_parquet
from rrm_reward.data.pairs._build import FAILED, Account, Workshop, balanced_orders, hold_out
from rrm_reward.data.pairs._check import Checker
from rrm_reward.data.pairs._collect import Labeller, Sampler, Server
from rrm_reward.data.pairs._journal import Journal
from rrm_reward.data.pairs._overlap import Contamination, read_evaluation
from rrm_reward.data.pairs._row import Pair, preference_row, prompt_of, verl_row
from rrm_reward.data.pairs._sources import Question, Source, source_of
from rrm_reward.errors import ConfigError
from rrm_reward.judge import Message, Sampling, make_view, special_tokens_of
from rrm_reward.judge._tokenizer import load_tokenizer

CHARACTERS = 12_000
"""Of a prompt, where no tokenizer counts: 4096 tokens of English and mathematics are more."""

Rendering = Callable[[Pair, bool], list[Message]]


def run(arguments: argparse.Namespace) -> tuple[str, bool]:
    """Make the pairs.

    Returns:
        A line that says what was made, and whether no server failed.

    Raises:
        ConfigError: an option that cannot work, a source or server that cannot be reached.
        InputError: a source of another schema.
    """
    for option in ("ngram", "limit", "max_tokens", "max_chars", "samples", "concurrency", "check_processes"):
        number = getattr(arguments, option)
        if number is not None and number < (2 if option == "samples" else 1):
            least = 2 if option == "samples" else 1
            raise ConfigError(f"--{option.replace('_', '-')}", number, f"must be at least {least}")
    if arguments.val < 0:
        raise ConfigError("--val", arguments.val, "must be at least 0")
    sources = [_place(given) for given in arguments.source]
    Path(arguments.output).mkdir(parents=True, exist_ok=True)
    return asyncio.run(_run(arguments, sources))


def _place(given: str) -> tuple[Source, str]:
    name, _, place = given.partition("=")
    source = source_of(name)
    return source, place or source.hub


def _server(arguments: argparse.Namespace, who: str) -> Server | None:
    urls = getattr(arguments, who)
    if urls is None:
        return None
    model = getattr(arguments, f"{who}_model")
    if not model:
        raise ConfigError(f"--{who}-model", model, f"name the model that {urls} serves")
    sampling = Sampling(
        temperature=getattr(arguments, f"{who}_temperature"),
        max_tokens=getattr(arguments, f"{who}_max_tokens"),
    )
    key_env, timeout = getattr(arguments, f"{who}_key_env"), getattr(arguments, f"{who}_timeout")
    return Server(tuple(urls.split(",")), model, sampling, key_env, timeout)


def _rendering(arguments: argparse.Namespace) -> tuple[Rendering, Callable[[Pair], bool]]:
    """How a pair becomes a prompt, and whether it is short enough (in either order, which cost the same)."""
    tokenizer: Any = None
    if arguments.tokenizer:
        tokenizer = load_tokenizer(arguments.tokenizer, "--tokenizer")
    special = special_tokens_of(tokenizer) if tokenizer is not None else frozenset()
    view = make_view("final", special)

    def render(pair: Pair, first_is_better: bool) -> list[Message]:
        return prompt_of(pair, first_is_better, view, special)

    characters = arguments.max_chars or (None if tokenizer is not None else CHARACTERS)

    def fits(pair: Pair) -> bool:
        messages = render(pair, True)
        if characters is not None and sum(len(message["content"]) for message in messages) > characters:
            return False
        if tokenizer is None:
            return True
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return len(tokenizer.encode(text, add_special_tokens=False)) <= int(arguments.max_tokens)

    return render, fits


async def _run(arguments: argparse.Namespace, sources: Sequence[tuple[Source, str]]) -> tuple[str, bool]:
    render, fits = _rendering(arguments)
    contamination = Contamination(arguments.ngram)
    for given in arguments.exclude:
        for question in read_evaluation(given):
            contamination.add(question)
    async with AsyncExitStack() as stack:
        sampler, labeller = await _servers(arguments, stack)
        checker = None
        if sampler is not None and any(source.kind is Question for source, _ in sources):
            checker = Checker(arguments.check_processes, arguments.check_seconds)
            stack.callback(checker.close)
        workshop = Workshop(
            sampler,
            labeller,
            checker,
            arguments.samples,
            contamination,
            fits,
            arguments.limit,
            arguments.concurrency,
            arguments.seed,
        )
        accounts = [await workshop.make_pairs(source, place) for source, place in sources]
    splits = _write(arguments, accounts, render, checks_killed=checker.killed if checker is not None else 0)
    failed = sum(account.dropped[FAILED] for account in accounts)
    asked = sum(paid.asked for paid in (sampler, labeller) if paid is not None)
    line = (
        f"{arguments.output}: {len(splits['train'])} pairs to train on and {len(splits['val'])} held out, "
        f"of {sum(account.read for account in accounts)} rows; {asked} requests (manifest.json)"
    )
    return (f"{line}; {failed} failed, run again to ask for them" if failed else line), not failed


async def _servers(
    arguments: argparse.Namespace, stack: AsyncExitStack
) -> tuple[Sampler | None, Labeller | None]:
    """Those that were named, started, with their journals; the stack closes them."""
    out = Path(arguments.output)
    sampling, labelling = _server(arguments, "sampler"), _server(arguments, "labeller")
    sampler = labeller = None
    if sampling is not None:
        sampler = Sampler(sampling, stack.enter_context(Journal(out / "responses.jsonl")))
        stack.push_async_callback(sampler.aclose)
        await sampler.start()
    if labelling is not None:
        labeller = Labeller(labelling, stack.enter_context(Journal(out / "labels.jsonl")))
        stack.push_async_callback(labeller.aclose)
        await labeller.start()
    return sampler, labeller


def _write(
    arguments: argparse.Namespace, accounts: Sequence[Account], render: Rendering, *, checks_killed: int
) -> dict[str, list[Pair]]:
    """The manifest, then the rows; the pairs of each split.

    Raises:
        ConfigError: there is no pair; the manifest says why.
    """
    out, seed = Path(arguments.output), arguments.seed
    pairs = [pair for account in accounts for pair in account.pairs]
    splits = dict(zip(("train", "val"), hold_out(pairs, arguments.val, seed), strict=True))
    manifest = {**_manifest(arguments, accounts, splits), "checks_killed": checks_killed}
    fresh = out / "manifest.json.new"
    fresh.write_text(json.dumps(manifest, indent=2) + "\n")
    os.replace(fresh, out / "manifest.json")
    if not splits["train"]:
        raise ConfigError("OUT", str(out), "there is no pair to train on; manifest.json counts the reasons")
    for split, chosen in splits.items():
        if chosen:
            write_parquet(out / f"{split}.parquet", _rows(split, chosen, render, seed))
            write_parquet(out / f"{split}_preferences.parquet", map(preference_row, chosen))
    return splits


def _rows(split: str, pairs: Sequence[Pair], render: Rendering, seed: int) -> Iterator[dict[str, Any]]:
    orders = balanced_orders(pairs, seed)
    for index, (pair, first_is_better) in enumerate(zip(pairs, orders, strict=True)):
        prompt = render(pair, first_is_better)
        yield verl_row(pair, prompt, first_is_better=first_is_better, split=split, index=index)


def _manifest(
    arguments: argparse.Namespace, accounts: Sequence[Account], splits: dict[str, list[Pair]]
) -> dict[str, Any]:
    """What was read, what became of it, and by which settings."""
    settings = {
        name: value for name, value in vars(arguments).items() if name not in ("command", "set", "output")
    }
    return {
        "version": __version__,
        "settings": settings,
        "sources": {
            account.source.name: {
                "place": account.place,
                "split": account.source.split,
                "read": account.read,
                "dropped": dict(sorted(account.dropped.items())),
                "pairs": len(account.pairs),
                **{
                    split: sum(pair.source == account.source.hub for pair in chosen)
                    for split, chosen in splits.items()
                },
            }
            for account in accounts
        },
        **{split: len(chosen) for split, chosen in splits.items()},
    }
