r"""What the judge sees of a text that it must not obey.

A policy in training learns whatever raises its reward, forging the judge's prompt included. Three things are
done to a response, and the last two to a query as well (whose own ``## Query`` is then escaped, too):

**The final answer** of a thinking policy is what is judged, not its reasoning (`final_answer`).

**Structure.** Headings of the prompt (``## Query``, ``### Assistant 2``, ``## Analysis``, ...) get their
hashes escaped, ``\#\# Query``, and a boxed verdict reads ``\box ed{Assistant 1}``. Other headings and other
boxes stay.

**Special tokens.** Servers look for special tokens in the text they are sent. A space after the first
character, ``< |im_end|>``, leaves the text readable and no token to be found. Why a space: normalisers strip
zero-width characters and fold fullwidth ones to ASCII, but a space inside a line survives them all. Why
insert and never delete: deleting ``<|im_end|>`` from ``<|im_<|im_end|>end|>`` makes one.

A tokenizer may normalise the text before it looks, so everything is searched in a folded copy: compatibility
forms (NFKD) and marks, zero-width and control characters removed, ``▁`` and every white space read as a
space. What is inserted goes into the original; a text in which nothing is found comes back byte for byte.
Searching is repeated until nothing is found, so the result holds no token and neutralising it again changes
nothing. This ends: every round widens some gap inside what was found, and a token or heading has only so many
and so wide ones.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from rrm_reward.errors import ConfigError
from rrm_reward.judge._verdict import THINK_CLOSE, boxes_from_right

NO_FINAL_ANSWER = "[no final answer: the response ended inside its reasoning]"
"""Judged in the place of a response whose reasoning was never closed. One text for all: reasoning that is not
an answer earns nothing, however it is written, and such responses are identical, so they are not compared
with each other."""

_OPENING_LINE = re.compile(r"^[ \t]*<think>", re.MULTILINE)


def final_answer(text: str, *, always_thinks: bool = False) -> str:
    """What a response says after its reasoning, R1-style.

    Args:
        text: a response.
        always_thinks: the policy's chat template opens the think block, so that a response without
            ``</think>`` is reasoning that was cut. Without this, a response with no think tags is an answer
            as a whole, for it cannot be told from that of a policy that does not think.

    Returns:
        The text after the last ``</think>``, without white space around it; `NO_FINAL_ANSWER` where a block
        is opened (``<think>`` at the beginning of a line) and never closed; else the text as it is.
    """
    close = text.rfind(THINK_CLOSE)
    answer = text if close < 0 else text[close + len(THINK_CLOSE) :]
    if (close < 0 and always_thinks) or _OPENING_LINE.search(answer):
        return NO_FINAL_ANSWER
    return answer if close < 0 else answer.strip()


class ResponseView:
    """From a response to what the judge reads of it.

    Args:
        response_view: ``"final"`` judges `final_answer`, ``"full"`` the whole response.
        special_tokens: of the judge's tokenizer, as `special_tokens_of` gives them; the usual ones are always
            covered.
        always_thinks: see `final_answer`.

    Attributes:
        unfinished: how many of the responses seen had no final answer.

    Raises:
        ConfigError: an unknown view.
    """

    def __init__(
        self,
        response_view: str = "final",
        special_tokens: Collection[str] = (),
        *,
        always_thinks: bool = False,
    ) -> None:
        if response_view not in ("final", "full"):
            raise ConfigError("judge.response_view", response_view, "choose one of final, full")
        self._final = response_view == "final"
        self._special_tokens = frozenset(special_tokens)
        self._always_thinks = always_thinks
        self.unfinished = 0

    def __call__(self, response: str) -> str:
        """What the judge reads of this response; always encodable as UTF-8."""
        if self._final:
            response = final_answer(response, always_thinks=self._always_thinks)
            self.unfinished += response is NO_FINAL_ANSWER
        return neutralise(response, self._special_tokens)


def make_view(
    response_view: str = "final", special_tokens: Collection[str] = (), *, always_thinks: bool = False
) -> ResponseView:
    """The view of the configuration; see `ResponseView`."""
    return ResponseView(response_view, special_tokens, always_thinks=always_thinks)


def special_tokens_of(tokenizer: Any) -> frozenset[str]:
    """Every added token of a tokenizer that a text could forge.

    Tokens that are not flagged special count too (``<think>`` is not, in R1's own tokenizer) if they hold a
    bracket or a bar: added words and runs of white space are text like any other. Single characters cannot be
    taken apart.

    Args:
        tokenizer: of ``transformers``, or a ``tokenizers.Tokenizer``.
    """
    if hasattr(tokenizer, "get_added_tokens_decoder"):
        added = tokenizer.get_added_tokens_decoder()
    else:
        added = getattr(tokenizer, "added_tokens_decoder", {})
    tokens = {str(token) for token in getattr(tokenizer, "all_special_tokens", ())}
    for token in added.values():
        if token.special or re.search(r"[<>\[\]{}|｜]", token.content):
            tokens.add(token.content)
    return frozenset(token for token in tokens if len(token) > 1 and not token.isspace())


def neutralise(text: str, special_tokens: Collection[str] = ()) -> str:
    """The text, with nothing in it that acts on the judge's prompt; see the top of this module.

    Args:
        text: a response or a rendered query.
        special_tokens: exact tokens beyond the usual ones (a frozenset is not copied).

    Returns:
        The text with characters inserted where something was found. NUL and lone surrogates, which no
        server takes, become U+FFFD. Ordinary text is returned as it is; applying it twice changes nothing
        more.
    """
    text = _UNENCODABLE.sub("\ufffd", text)
    tokens = _token_pattern(frozenset(special_tokens))
    while True:
        folded = _folded(text)
        found = list(_find(folded, tokens))
        if not found:
            return text
        broken = _insert(text, folded, found)
        if broken == text:
            return text
        text = broken


_UNENCODABLE = re.compile("[\x00\ud800-\udfff]")
_LINE_BREAKS = "\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
_INVISIBLE_LETTERS = "\u115f\u1160\u3164\uffa0\ufffd"
_MANY = 16
"""Kinds of folding characters beyond which one slow pass is cheaper than a fast one for each kind."""


def _folded(text: str) -> str:
    """The copy that is searched; the text itself where no character folds to something else."""
    folds = {char: _fold(char) for char in set(text) if _fold(char) != char}
    if len(folds) > _MANY:
        return text.translate({ord(char): fold for char, fold in folds.items()})
    for char, fold in folds.items():
        # What a character folds to folds to itself, so one replacement never undoes another.
        text = text.replace(char, fold)
    return text


@functools.cache
def _fold(char: str) -> str:
    """What may be left of a character after a tokenizer's normaliser."""
    if char in " \t\r":
        return char
    if char in _LINE_BREAKS:
        return "\n"
    if char == "▁" or char.isspace():
        return " "
    if char in _INVISIBLE_LETTERS:
        return ""
    return "".join(c for c in unicodedata.normalize("NFKD", char) if unicodedata.category(c)[0] not in "MC")


# Special tokens of the families of models that serve as judges, so that a judge whose tokenizer is not at
# hand is safe too. Folded text: DeepSeek's fullwidth bars are bars here, its ▁ are spaces.
# Every alternative begins with a plain character: that is what lets `re` skip ordinary text.
_USUAL_TOKENS = (
    r"<(?i:"
    r"\|[\w/.:+-](?:[\w /.:+-]{0,62}[\w/.:+-])?\|>"  # ChatML, Llama 3, DeepSeek, gpt-oss
    r"|/?(?:think|thinking|tools?|tool_(?:call|response)s?)>"  # reasoning and tools of Qwen and DeepSeek
    r"|(?:(?:start|end)_of_(?:turn|image)|bos|eos|unk|pad|mask|unused\d{1,6})>"  # Gemma
    r"|(?:fim_\w{1,16}|file_sep|repo_name|endoftext)>"  # StarCoder
    r"|</?sys>>"  # Llama 2
    r")|</?s>"  # in lower case only, unless the tokenizer has it: List<S> is code
    r"|\[/?(?i:inst|available_tools|tool_calls|tool_results|tool_content|system_prompt|think)\]"  # Mistral
)
_USUAL = re.compile(_USUAL_TOKENS)


@functools.lru_cache(maxsize=16)
def _token_pattern(special_tokens: frozenset[str]) -> re.Pattern[str]:
    """Matches every usual token and those given, longest first and in any case, in folded text."""
    exact = {_folded(token) for token in special_tokens if len(token) > 1}
    exact = {token for token in exact if len(token) > 1 and not token.isspace()}
    # A vocabulary may hold thousands of <|reserved_...|> that the usual pattern covers at no cost.
    exact = {token for token in exact if not (_USUAL.fullmatch(token) and _USUAL.fullmatch(token.swapcase()))}
    parts = [_USUAL_TOKENS]
    for token in sorted(exact, key=lambda token: (-len(token), token)):
        first, rest = re.escape(token[0]), re.escape(token[1:])
        parts.append(f"(?i:{first}{rest})" if token[0].isalpha() else f"{first}(?i:{rest})")
    return re.compile("|".join(parts))


_NUMBERED = r"assistant[ \t_-]{0,64}+(?:\d|one|two|responses?)"
_TITLE = rf"(?:{_NUMBERED}|(?:query|analysis)[ \t:.*_~`#]*+(?=[\n\r<]|\Z))"
_HASHES = re.compile(rf"(?i)(?P<hashes>#[# \t*_~`]{{0,64}}+){_TITLE}")
_BEFORE_HASHES = re.compile(r"[ \t>*+\-.0-9()#]*")
_HTML_HEADING = re.compile(rf"(?i)<h[1-6][^<>]{{0,64}}>\s{{0,8}}{_TITLE}")
_UNDERLINE = re.compile(r"(?:\r\n|\n|\r)[ \t]{0,8}(?P<rule>[=-])[=-]*[ \t]*(?=[\n\r]|\Z)")
_UNDERLINED = re.compile(rf"(?i)[ \t>*_]*(?:{_NUMBERED}|query|analysis)[ \t:.*_]*")
_UNCLOSED_BOX = re.compile(r"boxed(?=\s{0,32}\{[^}\[]{0,128}assistant)")
_LINE_LIMIT = 256


def _find(folded: str, tokens: re.Pattern[str]) -> Iterator[tuple[int, int, str]]:
    """What must not stand: (first, last, inserted).

    One of the gaps before ``folded[first]`` to ``folded[last]`` is to take `inserted`.
    """
    for match in tokens.finditer(folded):
        yield match.start() + 1, match.end() - 1, " "
    yield from _find_headings(folded)
    lower = folded.lower()
    if "boxed" in lower and "assistant" in lower:
        for box in boxes_from_right(lower):
            if box.names and "assistant" in lower[box.start : box.end]:
                yield box.start + 3, box.start + 4, " "
        for match in _UNCLOSED_BOX.finditer(lower):
            yield match.start() + 3, match.start() + 4, " "


def _find_headings(folded: str) -> Iterator[tuple[int, int, str]]:
    """Headings of the judge's prompt, in Markdown's two notations and in HTML's."""
    for match in _HASHES.finditer(folded):
        if _BEFORE_HASHES.fullmatch(_line_before(folded, match.start())):
            for index in range(*match.span("hashes")):
                if folded[index] == "#":
                    yield index, index, "\\"
    for match in _UNDERLINE.finditer(folded):
        if _UNDERLINED.fullmatch(_line_before(folded, match.start())):
            yield match.start("rule"), match.start("rule"), "\\"
    for match in _HTML_HEADING.finditer(folded):
        yield match.start() + 1, match.end() - 1, " "


def _line_before(folded: str, end: int) -> str:
    """What stands before `end` in its line; of a very long line, the end of it, so that the cost stays bounded."""
    window = folded[max(0, end - _LINE_LIMIT) : end]
    return window[max(window.rfind("\n"), window.rfind("\r")) + 1 :]


def _insert(text: str, folded: str, found: list[tuple[int, int, str]]) -> str:
    """The text with each insertion at the first of its gaps that parts two characters of the original."""
    origin: Sequence[int] = range(len(text))
    if folded is not text:
        origin = [index for index, char in enumerate(text) for _ in _fold(char)]
    places: dict[int, str] = {}
    for first, last, inserted in found:
        for index in range(first, last + 1):
            if index == 0 or origin[index] != origin[index - 1]:
                places[origin[index]] = inserted
                break
    pieces: list[str] = []
    before = 0
    for place in sorted(places):
        pieces += text[before:place], places[place]
        before = place
    return "".join((*pieces, text[before:]))
