"""The options of the command, checked, as what they stand for: accounts, servers, prompts."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from rrm_reward.data.pairs._collect import Server
from rrm_reward.data.pairs._row import Pair, prompt_of
from rrm_reward.data.pairs._sources import Preference, Prompt, source_of
from rrm_reward.data.pairs._survey import Account
from rrm_reward.errors import ConfigError
from rrm_reward.judge import Message, Sampling, make_view, special_tokens_of
from rrm_reward.judge._tokenizer import load_tokenizer
from rrm_reward.judge._untrusted import ResponseView

CHARACTERS = 12_000
"""Of a prompt, where no tokenizer counts: 4096 tokens of English and mathematics are more."""

Rendering = Callable[[Pair, bool], list[Message]]


def check_numbers(arguments: argparse.Namespace) -> None:
    """Refuse numbers that cannot work.

    Raises:
        ConfigError: naming the option.
    """
    for option in ("ngram", "max_tokens", "max_chars", "samples", "concurrency", "check_processes"):
        number = getattr(arguments, option)
        least = 2 if option == "samples" else 1
        if number is not None and number < least:
            raise ConfigError(f"--{option.replace('_', '-')}", number, f"must be at least {least}")
    if arguments.val is not None and arguments.val < 0:
        raise ConfigError("--val", arguments.val, "must be at least 0")


def accounts_of(arguments: argparse.Namespace) -> list[Account]:
    """An account for each source, with its limit, labelled by its name or, if that is named twice, by name and place.

    Raises:
        ConfigError: a source or limit that cannot be, or a server that a source needs and nobody named.
    """
    given = [text.partition("=") for text in arguments.source]
    times = Counter(name for name, _, _ in given)
    limits = _limits(arguments.limit, set(times))
    accounts: dict[str, Account] = {}
    for name, _, place in given:
        source = source_of(name)
        label = name if times[name] == 1 else f"{name}={place or source.hub}"
        if label in accounts:
            raise ConfigError("--source", label, "is named twice")
        accounts[label] = Account(source, label, place or source.hub, limits.get(name, limits.get("")))
        if arguments.dry_run or source.kind is Preference:
            continue
        if not arguments.sampler:
            raise ConfigError("--sampler", None, f"{name} has no responses; name a server that writes them")
        if source.kind is Prompt and arguments.labeller is None:
            raise ConfigError("--labeller", None, f"{name} has no labels; name a server that prefers")
    return list(accounts.values())


def _limits(given: Sequence[str], names: set[str]) -> dict[str, int]:
    """Pairs by source; "" is every other source."""
    limits: dict[str, int] = {}
    for text in given:
        name, _, number = text.rpartition("=")
        if name and name not in names:
            raise ConfigError("--limit", text, f"{name} is no --source of this run")
        if not number.isdecimal() or int(number) < 1:
            raise ConfigError("--limit", text, "write N or NAME=N, with N at least 1")
        limits[name] = int(number)
    return limits


def samplers_of(arguments: argparse.Namespace) -> list[Server]:
    """Who writes responses.

    Raises:
        ConfigError: as many --sampler-model are needed as --sampler.
    """
    urls, models = arguments.sampler, arguments.sampler_model
    if len(urls) != len(models):
        fix = (
            f"name a model for each --sampler, {', '.join(urls)}" if urls else "name its server by --sampler"
        )
        raise ConfigError("--sampler-model", ", ".join(models) or None, fix)
    return [_server(arguments, "sampler", *one) for one in zip(urls, models, strict=True)]


def labeller_of(arguments: argparse.Namespace) -> Server | None:
    """Who prefers, if somebody was named.

    Raises:
        ConfigError: without a model.
    """
    urls, model = arguments.labeller, arguments.labeller_model
    if urls is None:
        return None
    if not model:
        raise ConfigError("--labeller-model", model, f"name the model that {urls} serves")
    return _server(arguments, "labeller", urls, model)


def _server(arguments: argparse.Namespace, who: str, urls: str, model: str) -> Server:
    sampling = Sampling(
        temperature=getattr(arguments, f"{who}_temperature"),
        max_tokens=getattr(arguments, f"{who}_max_tokens"),
    )
    key_env, timeout = getattr(arguments, f"{who}_key_env"), getattr(arguments, f"{who}_timeout")
    return Server(tuple(urls.split(",")), model, sampling, key_env, timeout)


def rendering_of(
    arguments: argparse.Namespace,
) -> tuple[Rendering, Callable[[Pair], bool], ResponseView]:
    """How a pair becomes a prompt, whether it is short enough (in either order), and what a judge sees of a response.

    Raises:
        ConfigError: there is no such tokenizer.
    """
    tokenizer: Any = load_tokenizer(arguments.tokenizer, "--tokenizer") if arguments.tokenizer else None
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

    return render, fits, view
