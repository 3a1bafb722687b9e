"""From rows that can be used to pairs: sampled, checked or labelled, until there are as many as are wanted.

Every row is in the account in the end, as a pair or under the reason why not.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tqdm import tqdm

from rrm_reward.data.pairs._check import Checker
from rrm_reward.data.pairs._collect import Labeller, Sampler, each
from rrm_reward.data.pairs._overlap import normal_form
from rrm_reward.data.pairs._row import Pair
from rrm_reward.data.pairs._sources import Preference, Prompt, Question
from rrm_reward.data.pairs._survey import Account, bare_question
from rrm_reward.judge import BackendError
from rrm_reward.seeding import derive_seed

FAILED = "server failed"
"""The reason of rows whose server gave no answer; the next run asks again."""


@dataclass(frozen=True, slots=True)
class Workshop:
    """What turns items into pairs; parts that no chosen source needs are empty or None.

    Attributes:
        samplers: answer questions and prompts; each item is answered by one of them, drawn at random, so that who
            wrote a response tells nothing of how good it is.
        labeller: prefers one of two responses.
        checker: checks answers by rule.
        samples: responses to a question.
        fits: whether a pair's prompt is short enough.
        kept: what is kept of a response.
        width: items in work at once.
        seed: of every choice.
    """

    samplers: Sequence[Sampler]
    labeller: Labeller | None
    checker: Checker | None
    samples: int
    fits: Callable[[Pair], bool]
    kept: Callable[[str], str]
    width: int
    seed: int

    async def make_pairs(self, account: Account) -> None:
        """Fill in pairs, as many as the limit says, and why other rows are none.

        The pairs are those of the first rows in their random order, however many others were in work at the end.
        """
        made = 0

        def enough() -> bool:
            return account.limit is not None and made >= account.limit

        with tqdm(total=len(account.usable), desc=account.label, unit="row", disable=None) as progress:

            async def work(index: int) -> Pair | str:
                nonlocal made
                result = await self._pair(account, index)
                made += isinstance(result, Pair)
                progress.set_postfix(pairs=made, refresh=False)
                progress.update()
                return result

            results = await each(account.usable, work, self.width, enough)
        for result in results:
            if isinstance(result, str):
                account.dropped[result] += 1
            elif account.limit is not None and len(account.pairs) >= account.limit:
                account.dropped["over the limit"] += 1
            else:
                account.pairs.append(result)
        account.dropped["over the limit"] += len(account.usable) - len(results)
        account.dropped += Counter()  # without zeros

    async def _pair(self, account: Account, index: int) -> Pair | str:
        id = f"{account.label}/{index}"
        item = account.source.read(account.rows[index])
        assert not isinstance(item, str), "the survey has read it"
        if isinstance(item, Preference):
            pair = Pair(account.source.hub, id, item.query, self.kept(item.better), self.kept(item.worse))
            return pair if self.fits(pair) else "too long"
        if not self.fits(Pair(account.source.hub, id, item.messages, "", "")):
            return "too long"
        chosen = await self._chosen(id, item)
        if isinstance(chosen, str):
            return chosen
        pair = Pair(account.source.hub, id, item.messages, *map(self.kept, chosen))
        return pair if self.fits(pair) else "too long"

    async def _chosen(self, id: str, item: Prompt | Question) -> tuple[str, str] | str:
        """A better and a worse response."""
        sampler = self.samplers[derive_seed(self.seed, "sampler", id) % len(self.samplers)]
        responses = await sampler.responses(item.messages, self.samples if isinstance(item, Question) else 2)
        if responses is None:
            return FAILED
        texts = [response.text for response in responses if response.finished and response.text.strip()]
        if len(texts) < 2:
            return "unfinished responses"
        if isinstance(item, Question):
            return await self._right_and_wrong(id, item, texts)
        return await self._preferred(item, texts)

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


def hold_out(pairs: Sequence[Pair], count: int, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Training and held-out pairs, both shuffled; no query is on both sides.

    Args:
        pairs: of all sources.
        count: pairs to hold out at least (a query with several pairs is held out whole).
        seed: of the choice and the order.
    """
    by_query: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_query.setdefault(normal_form(bare_question(pair.query)), []).append(pair)
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
