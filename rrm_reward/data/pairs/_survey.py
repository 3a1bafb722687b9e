"""What of the sources can be used, and what it would cost: everything that is known before anybody is paid.

Rows that cannot be used, duplicates and questions of evaluation sets are dropped; the rest is put in a random order.
Only places of rows are kept, for a set of a million conversations is no thing for memory.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rrm_reward.data._files import read_rows
from rrm_reward.data.pairs._journal import key_of
from rrm_reward.data.pairs._overlap import Contamination, normal_form
from rrm_reward.data.pairs._row import Pair
from rrm_reward.data.pairs._sources import INSTRUCTION, Item, Preference, Prompt, Question, Source
from rrm_reward.judge import render_query
from rrm_reward.seeding import derive_seed
from rrm_reward.types import Query


@dataclass(slots=True)
class Account:
    """What became of the rows of a source.

    Attributes:
        source: the set.
        label: its name in the manifest and in ids; no two accounts of a run share one.
        place: where it is read.
        limit: pairs that are made of it at most; None for as many as there are.
        rows: all of it.
        usable: places of the rows that can be asked about, in a random order.
        dropped: how many rows for which reason.
        pairs: made.
    """

    source: Source
    label: str
    place: str
    limit: int | None = None
    rows: Sequence[Mapping[str, Any]] = ()
    usable: list[int] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    pairs: list[Pair] = field(default_factory=list)

    def cost(self, samples: int) -> str:
        """A line on what its pairs cost at most."""
        line = f"{self.label}: {len(self.usable)} of {len(self.rows)} rows can be used"
        if self.limit is not None:
            line += f", until there are {self.limit} pairs"
        if self.source.kind is Preference:
            return f"{line}; costs nothing"
        responses = samples if self.source.kind is Question else 2
        judgments = f" and {2 * len(self.usable)} judgments" if self.source.kind is Prompt else ""
        return f"{line}; at most {len(self.usable)} requests of {responses} responses{judgments}"


class Survey:
    """Looks through sources, one after the other; what two of them share is used once.

    Args:
        contamination: of evaluation sets.
        seed: of the order.
    """

    def __init__(self, contamination: Contamination, seed: int) -> None:
        self._contamination = contamination
        self._seed = seed
        self._seen: set[bytes] = set()

    def look(self, account: Account) -> None:
        """Fill in rows, usable and dropped.

        Raises:
            ConfigError: the source cannot be read.
            InputError: a column is missing.
        """
        source = account.source
        account.rows = read_rows(account.place, source.split, source.columns)
        for index, row in enumerate(account.rows):
            item = source.read(row)
            reason = item if isinstance(item, str) else self._unusable(item)
            if reason:
                account.dropped[reason] += 1
            else:
                account.usable.append(index)
        random.Random(derive_seed(self._seed, "order", account.label)).shuffle(account.usable)

    def _unusable(self, item: Item) -> str | None:
        query = item.query if isinstance(item, Preference) else item.messages
        bare = bare_question(query)
        identity = [normal_form(bare)]
        if isinstance(item, Preference):
            identity += sorted(normal_form(text) for text in (item.better, item.worse))
        key = bytes.fromhex(key_of(*identity))
        if key in self._seen:
            return "duplicate"
        self._seen.add(key)
        # evaluation sets hold bare questions, without instructions and earlier turns
        asked = bare if isinstance(query, str) else str(query[-1]["content"]).removesuffix(_ASKED_FOR)
        found = self._contamination.found_in(bare) or self._contamination.found_in(asked)
        return "in an evaluation set" if found else None


_ASKED_FOR = f"\n\n{INSTRUCTION}"


def bare_question(query: Query) -> str:
    """The text of a query as its source has it, without our `INSTRUCTION`."""
    return render_query(query).removesuffix(_ASKED_FOR)
