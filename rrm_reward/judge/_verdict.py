r"""From a judge's completion to a verdict: the last ``\boxed{Assistant 1|2}`` after the reasoning.

What counts as the answer:

1. What stands after the last ``</think>``. ``<think>`` may be missing: the chat template opens the block.
2. Where the server sends the reasoning apart, the whole text.
3. Without any think tag, the whole text, if the completion ended by itself (the prompt asks for the box and
   nothing else, so a judge may well not think). If it ran into its limit, the text is reasoning that was cut.
4. A think block that is never closed is reasoning without an answer: truncated, whatever is boxed in it.

Which box counts: the last one that names an assistant, for a judge may correct itself. Two boxes that name
different assistants with nothing between them that decides (white space, punctuation, "or", "and": the
prompt's own words, echoed) are a contradiction, and so is one box that names both. But a list of both that
ends its sentence, followed by a single box, is an echo followed by an answer.

A bare ``\boxed{1}`` is not a verdict: in a judgment of mathematics it is far more likely the answer of the
exercise. Nor is an unclosed box: what would have followed is not known.

The text may be hostile (a response can make the judge repeat it), so every regular expression here works on a
bounded window and the whole is linear in the length of the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from rrm_reward.types import NoVerdict, Verdict

THINK_OPEN = "<think>"
THINK_CLOSE = "</think>"

BOTH = 3
"""`Box.names` of a box that names both assistants, or neither of them on purpose."""

_WORD = "boxed"
_BOX_LIMIT = 128
_GAP_LIMIT = 64

_OPENING = re.compile(r"\s{0,32}[{｛﹛]")
_BRACE = re.compile(r"[{}｛｝﹛﹜]")
_NOISE = re.compile(r"(?:\\+[a-z]+|[\W_])+")
_ONE = re.compile(
    r"(?:the )?assistant ?(?:no |number )?(\d|one|two)"
    r"(?: is (?:the )?(?:better|best)(?: (?:one|response|answer))?)?"
)
_AND = "and|or|vs|versus|und|oder|et|ou|y|o|и|или|和|或|或者|还是|と"
_TWO = re.compile(
    rf"(?:both )?assistants? ?([12])(?: | ?(?:{_AND}) ?)(?:assistant ?)?([12])"
    r"|(?:a )?(?:both|neither|none|tie|draw|equal)(?: assistants?)?"
)
_CONNECTORS = frozenset(_AND.split("|"))
_SENTENCE_END = re.compile(r"[\n\r.!?;:。！？；：｡।؟]")

# What the prompt asks for, and nearly every completion ends in.
_PLAIN = re.compile(r"\s*\\boxed\{Assistant ([12])\}\s*")
_VERDICTS = {1: Verdict(1), 2: Verdict(2)}

_CUT = {
    "length": NoVerdict.TRUNCATED,
    "abort": NoVerdict.ERROR,
    "content_filter": NoVerdict.ERROR,
}


class Box(NamedTuple):
    r"""One ``\boxed{...}`` in a lower-cased text.

    Attributes:
        start: index of the word ``boxed``; its backslashes, if any, stand before.
        end: index after the closing brace.
        names: 1 or 2 for an assistant, `BOTH`, or 0 for a box about something else.
    """

    start: int
    end: int
    names: int


def parse_verdict(text: str, *, finish_reason: str = "stop", reasoning: str | None = None) -> Verdict:
    """Read the verdict of one completion, by the rules on top of this module.

    Args:
        text: the completion; the answer alone where the server separates the reasoning.
        finish_reason: as the server says; ``"length"`` is a completion that was cut.
        reasoning: the separate reasoning field, None or empty if there is none.

    Returns:
        A verdict of 1 or 2, or none with the reason: ``truncated``, ``unparseable``, ``contradictory``, or
        ``error`` for a completion that the server aborted or filtered. Never raises.
    """
    close = text.rfind(THINK_CLOSE)
    if close >= 0:
        answer = text[close + len(THINK_CLOSE) :]
    elif reasoning:
        answer = text
    elif THINK_OPEN in text:
        return Verdict(None, _CUT.get(finish_reason, NoVerdict.TRUNCATED))
    elif finish_reason in _CUT:
        return Verdict(None, _CUT[finish_reason])
    else:
        answer = text
    plain = _PLAIN.fullmatch(answer)
    if plain is not None:
        return _VERDICTS[int(plain[1])]
    if answer.lstrip().startswith(THINK_OPEN):
        return Verdict(None, _CUT.get(finish_reason, NoVerdict.TRUNCATED))
    names = _decide(answer.lower())
    if names == BOTH:
        return Verdict(None, NoVerdict.CONTRADICTORY)
    if names:
        return _VERDICTS[names]
    return Verdict(None, _CUT.get(finish_reason, NoVerdict.UNPARSEABLE))


def boxes_from_right(text: str) -> Iterator[Box]:
    r"""Every closed ``\boxed{...}`` of a lower-cased text, the last first, an outer box after its inner ones."""
    start = text.rfind(_WORD)
    while start >= 0:
        box = _box_at(text, start)
        if box is not None:
            yield box
        start = text.rfind(_WORD, 0, start)


def _box_at(text: str, start: int) -> Box | None:
    """The box whose word begins at `start`, if its braces match within the limit."""
    opening = _OPENING.match(text, start + len(_WORD))
    if opening is None or (start and text[start - 1].isalpha()):
        return None
    inside, depth = opening.end(), 1
    for brace in _BRACE.finditer(text, inside, inside + _BOX_LIMIT):
        depth += 1 if brace[0] in "{｛﹛" else -1
        if depth == 0:
            return Box(start, brace.end(), _names(text[inside : brace.start()]))
    return None


def _names(content: str) -> int:
    """Whom the content of a box names, without its LaTeX, markup, and punctuation of any script."""
    if not content.isascii():
        content = unicodedata.normalize("NFKC", content).lower()
    words = _NOISE.sub(" ", content).strip()
    one = _ONE.fullmatch(words)
    if one is not None:
        number = {"one": 1, "two": 2}.get(one[1]) or int(one[1])
        return number if number in (1, 2) else 0
    two = _TWO.fullmatch(words)
    return BOTH if two is not None and (two[1] is None or two[1] != two[2]) else 0


def _decide(answer: str) -> int:
    """Whom the answer is for: 1, 2, `BOTH` for a contradiction, 0 for nobody."""
    boxes = boxes_from_right(answer)
    last = next((box for box in boxes if box.names), None)
    if last is None or last.names == BOTH:
        return BOTH if last else 0
    right, contested = last, False
    for left in boxes:
        if left.end > right.start:
            continue
        linked, ends_sentence = _link(answer, left, right)
        if not linked or not left.names:
            break
        if contested:
            if ends_sentence:
                break
            if left.names & last.names:
                return last.names
        elif ends_sentence:
            if left.names & last.names:
                break
            contested = True
        elif left.names != last.names:
            return BOTH
        right = left
    return BOTH if contested else last.names


def _link(text: str, left: Box, right: Box) -> tuple[bool, bool]:
    """Whether nothing that decides stands between two boxes, and whether a sentence or a line ends there."""
    if right.start - left.end > _GAP_LIMIT:
        return False, False
    gap = text[left.end : right.start]
    words = _NOISE.sub(" ", gap).split()
    if not _CONNECTORS.issuperset(words):
        return False, False
    return True, not words and _SENTENCE_END.search(gap) is not None
