"""Fit a query and two responses into the judge's context, by one rule that favours neither response.

The rule, where the three texts together cost more than the budget:

1. The responses are cut first. They share what the query leaves: an equal half each, and a response that
   needs less than its half gives the rest to the other.
2. The query is cut only where it would leave the responses less than a quarter of the budget each (or less
   than they need, if that is less); it then gets what remains.
3. A text is cut in its middle, keeping as much of its head as of its tail, for a response states its plan
   first and its result last. A visible mark, ``[... 123 characters cut ...]``, says what is missing.

The rule sees a response's length and never its place, so both orders of a match show the same two texts. The
mark stands inside a line: a cut can neither move text to the beginning of a line, where it could pose as a
heading, nor join two halves of a special token, so neutralised text stays neutralised.

Without a tokenizer, tokens are bounded by UTF-8 bytes (every token of a byte-level vocabulary holds at least
one), and only where that bound exceeds the budget, by `estimate_tokens`.
"""

from __future__ import annotations

import functools
import string
from collections.abc import Callable
from dataclasses import dataclass

SEAM_TOKENS = 16
"""What texts may cost together beyond what they cost apart: tokens at the six seams of the frame."""

_CACHED_COUNTS = 1024
_CACHED_CUTS = 256
_LETTERS = (string.ascii_letters + " ").encode()
_ASCII = bytes(range(128))


@dataclass(frozen=True, slots=True)
class Fitted:
    """Three texts that fit.

    Attributes:
        query, a, b: the texts, the same objects as given where nothing had to be cut.
        cut: whether anything was cut.
    """

    query: str
    a: str
    b: str
    cut: bool


def estimate_tokens(text: str) -> int:
    """Tokens of a text without a tokenizer, estimated on the high side.

    Meant for byte-level BPE of Qwen's and Llama's kind. Three ASCII letters or spaces a token (English prose
    has over four), one token for every other ASCII character (Qwen splits numbers into digits), two bytes a
    token beyond ASCII (a Chinese character, three bytes, costs about one token or less).
    """
    data = text.encode("utf-8", "replace")
    rest = data.translate(None, _LETTERS)
    beyond = rest.translate(None, _ASCII)
    return -(-(len(data) - len(rest)) // 3) + (len(rest) - len(beyond)) + -(-len(beyond) // 2)


class ContextFit:
    """Cuts what does not fit, and nothing else.

    Args:
        budget_tokens: what query and responses may cost together: the context, less the completion limit,
            less the tokens of the frame and of the chat template, less `SEAM_TOKENS`. None never cuts.
        count: the judge's own count of tokens of a text, without special tokens; None estimates. Its answers
            are remembered for the last texts, and so are cuts, for a response takes part in many matches.
    """

    def __init__(self, budget_tokens: int | None, count: Callable[[str], int] | None = None) -> None:
        self.budget_tokens = None if budget_tokens is None else max(0, budget_tokens)
        self._measure = count or estimate_tokens
        self._count = functools.lru_cache(maxsize=_CACHED_COUNTS)(self._measure)
        self._shorten = functools.lru_cache(maxsize=_CACHED_CUTS)(self._cut)

    def fit(self, query: str, a: str, b: str) -> Fitted:
        """The three texts, cut by the rule on top of this module where they must be.

        Args:
            query: the rendered query.
            a: a response, already neutralised.
            b: the other. Swapping them swaps the results and changes nothing else.

        Returns:
            Texts whose counts sum to at most the budget. The exact counter is called O(log n) times for a
            text of n characters, and not at all where the number of bytes shows that everything fits.
        """
        budget = self.budget_tokens
        # No character has more than 4 bytes: most triples fit without a look at their texts.
        if budget is None or 4 * (len(query) + len(a) + len(b)) <= budget:
            return Fitted(query, a, b, cut=False)
        if _bytes(query) + _bytes(a) + _bytes(b) <= budget:
            return Fitted(query, a, b, cut=False)
        need_query, need_a, need_b = self._count(query), self._count(a), self._count(b)
        if need_query + need_a + need_b <= budget:
            return Fitted(query, a, b, cut=False)
        kept = min(need_a, budget // 4) + min(need_b, budget // 4)
        fit_query = self._shorten(query, need_query, max(0, budget - kept))
        left = budget - (need_query if fit_query is query else self._measure(fit_query))
        share_a, share_b = _shares(need_a, need_b, left)
        return Fitted(
            fit_query, self._shorten(a, need_a, share_a), self._shorten(b, need_b, share_b), cut=True
        )

    def _cut(self, text: str, need: int, limit: int) -> str:
        """`text` if it fits into `limit` tokens, else its head and tail; empty if not even the mark fits."""
        if need <= limit:
            return text
        best, low, high = self._mark_alone(text, limit), 0, len(text)
        fine = step = 1 + len(text) // 256
        # As if tokens were spread evenly, which is nearly right: so look close by first, then ever further off.
        keep = len(text) * limit // need
        while high - low > fine:
            trial = _middle_cut(text, keep)
            # Trials are measured without the cache: they would push whole responses out of it.
            if self._measure(trial) <= limit:
                best, low = trial, keep
            else:
                high = keep
            if low and high < len(text):
                keep = (low + high) // 2
            else:
                keep = min(low + step, high - 1) if low else max(high - step, 1)
                step *= 2
        return best

    def _mark_alone(self, text: str, limit: int) -> str:
        """The mark without any of the text, or nothing if that is too much already."""
        mark = _middle_cut(text, 0)
        return mark if self._measure(mark) <= limit else ""


@functools.lru_cache(maxsize=_CACHED_COUNTS)
def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _shares(need_a: int, need_b: int, total: int) -> tuple[int, int]:
    """Tokens for each response: equal halves, the unused part of one given to the other."""
    half = total // 2
    if need_a <= half:
        return need_a, total - need_a
    if need_b <= half:
        return total - need_b, need_b
    return half, half


def _middle_cut(text: str, keep: int) -> str:
    """The first and last characters of a text, `keep` in all, around a mark that stays inside its line."""
    tail = keep // 2
    return f"{text[: keep - tail]} [... {len(text) - keep} characters cut ...] {text[len(text) - tail :]}"
