"""Duplicates (the same but for case and space), and overlap with evaluation sets (words in a row)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rrm_reward.data._files import read_rows
from rrm_reward.errors import ConfigError, InputError
from rrm_reward.judge import render_query

QUESTION_COLUMNS = ("prompt", "question", "problem", "instruction", "query", "input", "text")
"""Where an evaluation set has its questions, if nobody says otherwise; the first of these that it has."""

_WORD = re.compile(r"\w+")
_PLACE = re.compile(r"(?P<place>[^@]+?)(?:@(?P<split>[^:@]+))?(?::(?P<column>\w+))?")


def words_of(text: str) -> list[str]:
    """The words that are compared."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def normal_form(text: str) -> str:
    """The text as duplicates are recognised by: without case, space and compatibility forms. Symbols stay: 2+2, 2-2."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


class Contamination:
    """Texts of evaluation sets, to be recognised in a query.

    Args:
        n: words in a row that must be shared; a shorter evaluation text must be the whole query.
    """

    def __init__(self, n: int = 13) -> None:
        self._n = n
        self._grams: set[int] = set()
        self._short: set[str] = set()

    def add(self, text: str) -> None:
        """A text that no training query may share."""
        words = words_of(text)
        if len(words) >= self._n:
            self._grams.update(self._grams_of(words))
        elif text.strip():
            self._short.add(normal_form(text))

    def found_in(self, query: str) -> bool:
        """Whether the query shares n words in a row with an evaluation text, or is one."""
        if normal_form(query) in self._short:
            return True
        return any(gram in self._grams for gram in self._grams_of(words_of(query)))

    def _grams_of(self, words: list[str]) -> Iterator[int]:
        return (hash(tuple(words[start : start + self._n])) for start in range(len(words) - self._n + 1))


def read_evaluation(given: str) -> Iterable[str]:
    """The questions of an evaluation set.

    Args:
        given: ``PLACE[@SPLIT][:COLUMN]``: hub name, folder or file; the split is "test", and the column the first of
            `QUESTION_COLUMNS` that is there, unless named.

    Raises:
        ConfigError: it cannot be read, or has no such column.
    """
    match = _PLACE.fullmatch(given)
    if match is None:
        raise ConfigError("--exclude", given, "write PLACE, PLACE@SPLIT or PLACE@SPLIT:COLUMN")
    column = match["column"]
    try:
        rows = read_rows(
            match["place"], match["split"] or "test", (column,) if column else (), key="--exclude"
        )
    except InputError as error:
        raise ConfigError("--exclude", given, str(error)) from error
    return _questions(given, rows, column)


def _questions(given: str, rows: Iterable[Mapping[str, Any]], column: str | None) -> Iterator[str]:
    for row in rows:
        column = column or next((name for name in QUESTION_COLUMNS if name in row), None)
        if column is None:
            raise ConfigError("--exclude", given, f"name its column: {given}:COLUMN, one of {', '.join(row)}")
        value = row[column]
        if value:
            yield render_query(value)
