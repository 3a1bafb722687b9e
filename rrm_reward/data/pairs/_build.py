"""From sources to ``train.parquet``, ``val.parquet`` and ``manifest.json``.

The order of things is the order of their price. Rows that cannot be used, duplicates, questions of evaluation sets and
questions that are too long are dropped first, then the limit is drawn; only what is left is sampled, checked and
labelled. Every row that was read is in the manifest, as a pair or under the reason why not.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from rrm_reward.data._files import read_rows
from rrm_reward.data.pairs._check import Checker
from rrm_reward.data.pairs._collect import Labeller, Sampler, each
from rrm_reward.data.pairs._journal import key_of
from rrm_reward.data.pairs._overlap import Contamination, normal_form
from rrm_reward.data.pairs._row import Pair
from rrm_reward.data.pairs._sources import Item, Preference, Prompt, Question, Source
from rrm_reward.errors import ConfigError
from rrm_reward.judge import BackendError, Message, render_query
from rrm_reward.seeding import derive_seed

FAILED = "server failed"
"""The reason of rows whose server gave no answer; the next run asks again."""


@dataclass(slots=True)
class Account:
    """What became of the rows of a source.

    Attributes:
        source: the set.
        place: where it was read.
        read: rows of it.
        dropped: how many rows for which reason.
        pairs: made.
    """

    source: Source
    place: str
    read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    pairs: list[Pair] = field(default_factory=list)


@dataclass(slots=True)
class Workshop:
    """What turns items into pairs; parts that no chosen source needs are None.

    Attributes:
        sampler: answers questions and prompts.
        labeller: prefers one of two responses.
        checker: checks answers by rule.
        samples: responses to a question.
        contamination: of evaluation sets.
        fits: whether a pair's prompt is short enough.
        limit: items of a source that are drawn at most.
        width: items in work at once.
        seed: of every choice.
    """

    sampler: Sampler | None
    labeller: Labeller | None
    checker: Checker | None
    samples: int
    contamination: Contamination
    fits: Callable[[Pair], bool]
    limit: int | None
    width: int
    seed: int
    seen: set[str] = field(default_factory=set)

    async def make_pairs(self, source: Source, place: str) -> Account:
        """Everything from one source.

        Raises:
            ConfigError: the source cannot be read, or needs a server that nobody named.
        """
        account = Account(source, place)
        if source.kind is not Preference and self.sampler is None:
            raise ConfigError(
                "--sampler", None, f"{source.name} has no responses; name a server that writes them"
            )
        if source.kind is Prompt and self.labeller is None:
            raise ConfigError("--labeller", None, f"{source.name} has no labels; name a server that prefers")
        items = self.usable(account, read_rows(place, source.split, source.columns))

        async def made(numbered: tuple[int, Item]) -> Pair | str:
            index, item = numbered
            return await self._pair(source, f"{source.name}/{index}", item)

        with tqdm(total=len(items), desc=source.name, unit="row", disable=None) as progress:
            results = await each(items, made, self.width, progress.update)
        for result in results:
            if isinstance(result, str):
                account.dropped[result] += 1
            elif not self.fits(result):
                account.dropped["too long"] += 1
            else:
                account.pairs.append(result)
        return account

    def usable(self, account: Account, rows: Iterable[Any]) -> list[tuple[int, Item]]:
        """Numbered items that are worth paying for, in a random order that the seed decides."""
        source, items = account.source, []
        for index, row in enumerate(rows):
            account.read += 1
            item = source.read(row)
            reason = item if isinstance(item, str) else self._unusable(source, item)
            if reason:
                account.dropped[reason] += 1
            elif not isinstance(item, str):
                items.append((index, item))
        random.Random(derive_seed(self.seed, "limit", source.name)).shuffle(items)
        if self.limit is not None:
            account.dropped["over the limit"] += len(items[self.limit :])
        account.dropped += Counter()  # without zeros
        return items[: self.limit]

    def _unusable(self, source: Source, item: Item) -> str | None:
        messages = _asked(item)
        query = render_query(messages)
        identity = [normal_form(query)]
        if isinstance(item, Preference):
            identity += sorted(normal_form(text) for text in (item.better, item.worse))
        key = key_of(*identity)
        if key in self.seen:
            return "duplicate"
        self.seen.add(key)
        # evaluation sets hold bare questions, without instructions and earlier turns
        bare = item.text if isinstance(item, Question) else messages[-1]["content"]
        if self.contamination.found_in(query) or self.contamination.found_in(bare):
            return "in an evaluation set"
        responses = (item.better, item.worse) if isinstance(item, Preference) else ("", "")
        return None if self.fits(Pair(source.hub, "", messages, *responses)) else "too long"

    async def _pair(self, source: Source, id: str, item: Item) -> Pair | str:
        if isinstance(item, Preference):
            return Pair(source.hub, id, item.query, item.better, item.worse)
        assert self.sampler is not None
        n = self.samples if isinstance(item, Question) else 2
        responses = await self.sampler.responses(item.messages, n)
        if responses is None:
            return FAILED
        texts = [response.text for response in responses if response.finished and response.text.strip()]
        if len(texts) < 2:
            return "unfinished responses"
        if isinstance(item, Question):
            chosen = await self._right_and_wrong(id, item, texts)
        else:
            chosen = await self._preferred(item, texts)
        return chosen if isinstance(chosen, str) else Pair(source.hub, id, item.messages, *chosen)

    async def _right_and_wrong(self, id: str, item: Question, texts: Sequence[str]) -> tuple[str, str] | str:
        assert self.checker is not None
        told = [await self.checker.is_right(text, item.answers, item.answer_type) for text in texts]
        right = [text for text, is_right in zip(texts, told, strict=True) if is_right]
        wrong = [text for text, is_right in zip(texts, told, strict=True) if is_right is False]
        if right and wrong:
            rng = random.Random(derive_seed(self.seed, "pair", id))
            return rng.choice(right), rng.choice(wrong)
        return "none right" if wrong else "none wrong" if right else "answers that no rule can check"

    async def _preferred(self, item: Prompt, texts: Sequence[str]) -> tuple[str, str] | str:
        assert self.labeller is not None
        a, b = texts[:2]
        if normal_form(a) == normal_form(b):
            return "identical responses"
        try:
            p = await self.labeller.preference(item.messages, a, b)
        except BackendError:
            return FAILED
        if p is None:
            return "no label"
        return "undecided" if p == 0.5 else (a, b) if p > 0.5 else (b, a)


def _asked(item: Item) -> list[Message]:
    return item.query if isinstance(item, Preference) else item.messages


def hold_out(pairs: Sequence[Pair], count: int, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Training and held-out pairs, both shuffled; no query is on both sides.

    Args:
        pairs: of all sources.
        count: pairs to hold out at least (a query with several pairs is held out whole).
        seed: of the choice and the order.
    """
    by_query: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_query.setdefault(normal_form(render_query(pair.query)), []).append(pair)
    queries = sorted(by_query)
    random.Random(derive_seed(seed, "hold out")).shuffle(queries)
    held_out: list[Pair] = []
    train: list[Pair] = []
    for query in queries:
        (held_out if len(held_out) < count else train).extend(by_query[query])
    random.Random(derive_seed(seed, "order of rows")).shuffle(train)
    return train, held_out


def balanced_orders(pairs: Sequence[Pair], seed: int) -> list[bool]:
    """For each pair whether the better response comes first: at random, for half of every source (but for one)."""
    by_source: dict[str, list[int]] = {}
    for index, pair in enumerate(pairs):
        by_source.setdefault(pair.source, []).append(index)
    orders = [False] * len(pairs)
    for source, places in sorted(by_source.items()):
        rng = random.Random(derive_seed(seed, "orders", source))
        start = rng.randrange(2)
        flags = [(start + count) % 2 == 0 for count in range(len(places))]
        rng.shuffle(flags)
        for place, flag in zip(places, flags, strict=True):
            orders[place] = flag
    return orders
