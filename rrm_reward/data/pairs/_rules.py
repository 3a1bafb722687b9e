r"""Is a response right? By choice letter, by exact match, by `math-verify`; and "cannot tell" where no rule can.

What a rule cannot read is neither right nor wrong: a pair with a wrong label teaches the judge to be wrong. So words
are only compared with themselves ("increases" is right if it is written, but "goes up" is not wrong), and a response
that boxes no answer cannot be told.

`is_right` may never return (``\boxed{9^{9^{9}}}`` makes sympy count), so it is called in a process that can be killed:
see `_check`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rrm_reward.judge._untrusted import final_answer

_WORDS = {"true": "true", "yes": "true", "false": "false", "no": "false"}
_LETTER = re.compile(r"[(\[]?([A-J])[)\].:]?")
_LETTER_AND_TEXT = re.compile(r"[(\[]?([A-J])[)\].:](?:\s.*)?", re.DOTALL)
_TEXT = re.compile(r"\\(?:text|mathrm|textbf|mathbf)\s*\{([^{}]*)\}")
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
    return said[-1].strip().rstrip(".") or None if said else None


def plain(answer: str) -> str:
    """An answer without its dollars, LaTeX text, case, and space: what exact match compares."""
    answer = _TEXT.sub(r"\1", answer).replace("$", "").replace("\\,", "").replace("\\ ", " ")
    return " ".join(answer.split()).rstrip(".").casefold()


def _is_mathematical(answer: str) -> bool:
    """Whether an answer is something to be calculated with, and not a phrase in letters."""
    text = _TEXT.sub(r"\1", answer)
    return bool(re.search(r"[0-9\\^_=+*/<>|]", text)) or len(text.strip("$ ")) == 1


def is_right(response: str, answers: Sequence[str]) -> bool | None:
    """True or False where a rule can tell, else None.

    Args:
        response: reasoning and answer.
        answers: the known answers; any will do.
    """
    given = given_answer(response)
    if given is None:
        return None
    told = [_agrees(given, answer) for answer in answers]
    if True in told:
        return True
    return False if told and None not in told else None


def _agrees(given: str, answer: str) -> bool | None:
    if plain(given) == plain(answer):
        return True
    letter = _LETTER.fullmatch(_TEXT.sub(r"\1", answer).strip("$ "))
    if letter is not None:
        chosen = _LETTER_AND_TEXT.fullmatch(_TEXT.sub(r"\1", given).strip("$ "))
        chosen = chosen or _LETTER.fullmatch(_TEXT.sub(r"\1", given).strip("$ "))
        return None if chosen is None else chosen[1] == letter[1]
    if plain(answer) in _WORDS:
        return _WORDS[plain(given)] == _WORDS[plain(answer)] if plain(given) in _WORDS else None
    if not _is_mathematical(answer) or not _is_mathematical(given):
        return None
    return _verified(given, answer)


def _verified(given: str, answer: str) -> bool | None:
    """By math-verify; None where it can read one of the two not at all."""
    from math_verify import parse, verify

    # Its own limit of 5 s is what a busy machine needs to import sympy; ours is that of `_check`.
    gold, target = (parse(f"${text.strip('$ ')}$", parsing_timeout=None) for text in (answer, given))
    return bool(verify(gold, target, timeout_seconds=None)) if gold and target else None


def warm_up() -> None:
    """Import what `is_right` needs, so that no check is charged for it."""
    import math_verify  # noqa: F401
