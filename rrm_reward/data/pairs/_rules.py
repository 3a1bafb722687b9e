r"""Is a response right? By choice letter, by exact match, as a number, by `math-verify`; or nobody can tell.

What a rule cannot tell for sure is neither right nor wrong: a pair with a wrong label teaches the judge to be wrong.
True is said of what is the same answer in other dress, False of what is another answer of the same kind, and None of
all the rest: words that are not the same words, numbers that may be roundings of each other or come in other units,
formulae whose letters differ, and responses that give no answer.

`agrees` may never return (``9^{9^{9}}`` makes sympy count), so a process that can be killed calls it: see `_check`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rrm_reward.data.pairs._expressions import same_expression
from rrm_reward.data.pairs._numbers import read_quantity, same_quantity
from rrm_reward.judge._untrusted import final_answer

VERSION = 2
"""Of the rules: what an older one told is checked anew."""

ONLY_EQUAL = frozenset({"string", "list", "matrix", "other"})
"""Kinds of answers (WebInstruct's ``answer_type``) that can be written in so many ways that no difference proves."""

MEASURED = frozenset({"float", "percentage"})
"""Kinds of answers that may be rounded, whatever they look like."""

_WORDS = {"true": "true", "yes": "true", "false": "false", "no": "false"}
_CHOICE = re.compile(r"[(\[]?([A-J])[)\].:]?")
_OTHER_CHOICE = r"(?:^|[\s,])[(\[]?[A-J][)\].:](?:\s|$)"
_CHOICE_AND_TEXT = re.compile(rf"[(\[]?([A-J])[)\].:]\s*((?!.*{_OTHER_CHOICE})\S.*)", re.DOTALL)
_PROSE = re.compile(r"(?:[A-Z]?[a-z'-]+ )*[A-Z]?[a-z'-]+")
_TEXT = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox|operatorname)\s*\{([^{}]*)\}")
_LAYOUT = re.compile(r"\\(?:left|right|big|Big|displaystyle|limits)(?![A-Za-z])")
_SPACE = re.compile(r"\\[,;:!]|\\quad|\\ |~|(?<!\\)\$|\\[()\[\]]")
_ASSIGNED = re.compile(r"((?:\\?[A-Za-z]+)(?:_(?:\w|\{\w+\}))?(?:\([a-z]\))?)\s*=\s*([^=<>]+)")
_SAID = re.compile(r"(?:final answer|answer)\s*(?:is|:)\s*\**\s*(.+)", re.IGNORECASE)
_LONGEST_ANSWER = 2000


def given_answer(response: str) -> str | None:
    r"""What a response gives as its answer: its last ``\boxed{...}``, or what follows its last "Answer:"."""
    text = final_answer(response)
    start = text.rfind("\\boxed{")
    if start >= 0:
        inside, depth = start + len("\\boxed{"), 1
        for end in range(inside, min(len(text), inside + _LONGEST_ANSWER)):
            depth += (text[end] == "{") - (text[end] == "}")
            if depth == 0:
                return text[inside:end].strip() or None
        return None
    said = _SAID.findall(text)
    return said[-1].strip().rstrip(".")[:_LONGEST_ANSWER] or None if said else None


def undressed(answer: str) -> str:
    """An answer without what only lays it out: dollars, LaTeX spaces and sizes, a full stop at the end. Case stays."""
    answer = _LAYOUT.sub("", _SPACE.sub(" ", answer.replace("{,}", ",")))
    answer = re.sub(r"\\[dtc]frac", r"\\frac", answer).replace("\u2212", "-")
    return " ".join(answer.split()).removesuffix(".").strip()


def plain(answer: str) -> str:
    r"""The same without ``\text{}`` around words: what exact match compares."""
    return " ".join(_TEXT.sub(r" \1 ", undressed(answer)).split()).removesuffix(".").strip()


def is_right(response: str, answers: Sequence[str], answer_type: str = "") -> bool | None:
    """True or False where a rule can tell, else None.

    Args:
        response: reasoning and answer.
        answers: the known answers; any will do.
        answer_type: kind of answer as WebInstruct names it, "" if nobody said.
    """
    given = given_answer(response)
    return None if given is None else agrees(given, answers, answer_type)


def agrees(given: str, answers: Sequence[str], answer_type: str = "") -> bool | None:
    """The same of a `given_answer`."""
    kind = answer_type.strip().casefold()
    told = [same_answer(given, answer, measured=kind in MEASURED) for answer in answers]
    if True in told:
        return True
    return False if told and None not in told and kind not in ONLY_EQUAL else None


def same_answer(given: str, answer: str, *, measured: bool = False) -> bool | None:
    """Whether two answers are one: True and False are sure, None is not.

    Args:
        given: by a response.
        answer: known.
        measured: both may be rounded, even if they look like whole numbers.
    """
    one, other = plain(given), plain(answer)
    if one == other:
        return True
    if one.casefold() in _WORDS or other.casefold() in _WORDS:
        words = [_WORDS.get(text.casefold()) for text in (one, other)]
        return None if None in words else words[0] == words[1]
    (letter, text), (other_letter, other_text) = _choice_of(one), _choice_of(other)
    if letter or other_letter:
        # a text alone is compared with the text of a choice: it cannot be with its letter
        texts = (
            None if text is None or other_text is None else same_answer(text, other_text, measured=measured)
        )
        if letter is None or other_letter is None:
            return texts
        # letter and text have to tell the same
        return (None if texts is False else True) if letter == other_letter else (None if texts else False)
    if _PROSE.fullmatch(one) and _PROSE.fullmatch(other) and re.search("[a-z]{4}", one):
        return True if one.casefold() == other.casefold() else None
    return _same_mathematics(undressed(given), undressed(answer), measured=measured)


def _choice_of(answer: str) -> tuple[str | None, str | None]:
    """The letter of a choice that is named, and the text; either is None where there is none."""
    if match := _CHOICE.fullmatch(answer):
        return match[1], None
    if match := _CHOICE_AND_TEXT.fullmatch(answer):
        return match[1], match[2]
    return None, answer


def _same_mathematics(one: str, other: str, *, measured: bool) -> bool | None:
    (name, one), (other_name, other) = (_value_of(text) for text in (one, other))
    if name and other_name and name != other_name:
        return None
    if plain(one) == plain(other):
        return True
    quantities = [read_quantity(text) for text in (one, other)]
    if quantities[0] and quantities[1]:
        return same_quantity(quantities[0], quantities[1], measured=measured)
    if any(quantity and (quantity.unit or quantity.percent) for quantity in quantities):
        return None
    items = [_items_of(text) for text in (one, other)]
    if items[0] and items[1]:
        return _same_items(items[0], items[1], measured=measured)
    if items[0] or items[1]:
        return None
    return same_expression(one, other, measured=measured)


def _value_of(answer: str) -> tuple[str, str]:
    """``x = 3`` as ("x", "3"), and all else as ("", answer)."""
    match = _ASSIGNED.fullmatch(answer)
    return (match[1], match[2].strip()) if match else ("", answer)


def _items_of(answer: str) -> tuple[str, list[str]] | None:
    """Brackets and parts of a list, a set, a point or an interval; None of what has no commas outside of brackets."""
    brackets, inside = "", answer.replace("\\{", "\x01").replace("\\}", "\x02")
    if inside[:1] in "([\x01" and inside[-1:] in ")]\x02":
        brackets, inside = inside[0] + inside[-1], inside[1:-1]
    depth, parts = 0, [""]
    for sign in inside:
        depth += (sign in "([{\x01") - (sign in ")]}\x02")
        if depth < 0:
            return None
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    if len(parts) < 2 or depth:
        return None
    return brackets, [part.replace("\x01", "\\{").replace("\x02", "\\}").strip() for part in parts]


def _same_items(one: tuple[str, list[str]], other: tuple[str, list[str]], *, measured: bool) -> bool | None:
    if one[0] != other[0] or len(one[1]) != len(other[1]):
        return None
    told = [[same_answer(a, b, measured=measured) for b in other[1]] for a in one[1]]
    in_order = [told[place][place] for place in range(len(told))]
    if all(in_order):
        return True
    if one[0] not in ("", "\x01\x02"):
        return False if False in in_order else None
    # the order of a set says nothing, and that of a bare list perhaps
    each_side = (*told, *zip(*told, strict=True))
    if any(all(agreed is False for agreed in row) for row in each_side):
        return False
    return True if one[0] and all(row.count(True) == 1 for row in each_side) else None


def warm_up() -> None:
    """Import what `agrees` needs, so that no check is charged for it."""
    import math_verify  # noqa: F401
