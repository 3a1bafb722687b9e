r"""Answers that are one number, perhaps with a unit: ``42``, ``1,000``, ``\frac{1}{3}``, ``2\times10^{-3}\text{ kg}``.

A number is a fraction and the size of its last place. What lies within that of another number may be a rounding of it,
and what differs by a power of ten may be in another unit: nobody can tell, so nobody tells.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

NEAR = Fraction(1, 20)
"""Of measured numbers that differ by less than this share, one may have come by other roundings or constants."""

_LARGEST_EXPONENT = 300
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d+)"
_NUMBER = re.compile(
    rf"""(?P<currency>\\?\$|€|£)?\s*(?P<sign>[-+])?\s*(?P<currency_after>\\?\$|€|£)?\s*
    (?:\\frac\s*(?:\{{\s*(?P<top>\d+)\s*\}}\s*\{{\s*(?P<bottom>\d+)\s*\}}|(?P<top1>\d)\s*(?P<bottom1>\d))
      |(?P<over>\d+)\s*/\s*(?P<under>\d+)
      |(?P<whole>{_DIGITS})?(?:\.(?P<places>\d+))?
       (?:\s*(?:\\times|\\cdot|×|·|\*)\s*10\s*\^\s*(?:\{{\s*(?P<power>-?\d+)\s*\}}|(?P<power1>-?\d+))|[eE](?P<e>[-+]?\d+))?)
    (?![\d.,]*\d)(?P<rest>.*)""",
    re.VERBOSE | re.DOTALL,
)
_PERCENT = re.compile(r"\s*(?:\\?%|percent|per cent)", re.IGNORECASE)
_DEGREES = re.compile(r"\s*(?:\^\s*\{?\s*\\circ\s*\}?|°|\\degree|degrees?)")
_WRAPPED = re.compile(r"\s*\\(?:text|textbf|textit|mathrm|mbox|operatorname)\s*\{([^{}]*)\}")
_WORD = r"[A-Za-zµμΩΩ]+(?:\s*\^\s*\{?\s*-?\d\s*\}?|[²³])?"
_UNIT = re.compile(rf"{_WORD}(?:\s*[/·*]?\s*{_WORD}){{0,3}}")
_SHORT_UNIT = re.compile(
    "mm|cm|dm|km|nm|[µμ]m|pm|in|ft|yd|mi|mg|kg|lb|oz|m[lL]|dl|cl|kL|ms|ns|min|hrs?|sec|k?[hH]z|MHz|GHz|kJ|MJ|[kM]?eV|cal"
    "|kN|[kM]?Pa|atm|bar|[mk]V|[kM]W|[kM]?Wh|mol|mM|rad|deg|mph|kmh|USD|EUR|amu|k?Da|Ω|AU|ly"
)
_NO_UNIT = re.compile(
    "or|and|to|by|not|than|more|less|fewer|greater|at|about|hundred|thousands?|millions?|billions?|trillion|dozens?|half"
    "|halves|thirds?|quarters?|if|mod|modulo|is|are|was|when|for",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number as it was written.

    Attributes:
        value: of the number; 25 % is 25 here.
        place: size of the last place; 0 for a fraction or a whole number that is no round one.
        measured: written with a decimal point or a power of ten.
        percent: whether it is followed by a percent sign.
        unit: as it was written, without space; "" for none.
    """

    value: Fraction
    place: Fraction
    measured: bool
    percent: bool
    unit: str


def read_quantity(text: str) -> Quantity | None:
    """The quantity that an answer is as a whole, or None.

    Args:
        text: an answer without dollars and LaTeX spaces (`_rules.undressed`).
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    number = _number_of(match)
    tail = _unit_of(match["rest"])
    if number is None or tail is None:
        return None
    value, place, measured = number
    percent, unit = tail
    currency = (match["currency"] or match["currency_after"] or "").removeprefix("\\")
    if currency and (unit or percent):
        return None
    return Quantity(-value if match["sign"] == "-" else value, place, measured, percent, unit or currency)


def _number_of(match: re.Match[str]) -> tuple[Fraction, Fraction, bool] | None:
    top = match["top"] or match["top1"] or match["over"]
    bottom = match["bottom"] or match["bottom1"] or match["under"]
    if top is not None:
        return (Fraction(int(top), int(bottom)), Fraction(0), False) if int(bottom) else None
    whole, places = (match["whole"] or "").replace(",", ""), match["places"]
    if not whole and not places:
        return None
    power_text = match["power"] or match["power1"] or match["e"]
    power = int(power_text) if power_text else 0
    if abs(power) > _LARGEST_EXPONENT:
        return None
    scale = Fraction(10) ** power
    value = Fraction(f"{whole or 0}.{places or 0}") * scale
    if places is not None or power_text:
        return value, scale / 10 ** len(places or ""), True
    zeros = len(whole) - len(whole.rstrip("0"))
    # 16,700 may stand for 16,666; 10 does not stand for 12
    return value, Fraction(10**zeros, 2) if zeros >= 2 and value else Fraction(0), False


def _unit_of(rest: str) -> tuple[bool, str] | None:
    """Whether a percent sign follows, and the unit; None if something else does."""
    if not rest.strip():
        return False, ""
    if _PERCENT.fullmatch(_WRAPPED.sub(r" \1 ", rest).strip()):
        return True, ""
    if _DEGREES.fullmatch(_WRAPPED.sub(r" \1 ", rest).strip()):
        return False, "°"
    wrapped = _WRAPPED.match(rest) is not None
    written = " ".join(_WRAPPED.sub(r" \1 ", rest).split())
    if not _UNIT.fullmatch(written):
        return None
    words = re.findall(r"[A-Za-zµμΩΩ]+", written)
    if any(map(_NO_UNIT.fullmatch, words)):
        return None
    # 5m may be five times m, and 2xy is: what is no known unit and no word is a unit in \text{} only
    if not wrapped and not (_SHORT_UNIT.fullmatch(words[0]) or len(words[0]) >= 4):
        return None
    return False, re.sub(r"[\s{}]", "", written)


def same_quantity(one: Quantity, other: Quantity, *, measured: bool = False) -> bool | None:
    """Whether two quantities are one: symmetric, True and False are sure.

    Args:
        one: as read.
        other: likewise.
        measured: both may be rounded, however they are written.
    """
    if one.percent != other.percent:
        if one.unit or other.unit:
            return None
        ratios = [quantity.value / (100 if quantity.percent else 1) for quantity in (one, other)]
        return True if ratios[0] == ratios[1] else None
    if one.unit != other.unit and one.unit and other.unit:
        return None
    if one.value == other.value:
        return True
    if one.unit != other.unit:
        return None  # without its unit, 5000 may be 5 km
    return None if _may_be_rounded(one, other, measured=measured) else False


def _may_be_rounded(one: Quantity, other: Quantity, *, measured: bool) -> bool:
    small, large = sorted((abs(one.value), abs(other.value)))
    if not (measured or one.measured or other.measured):
        return abs(one.value - other.value) <= max(one.place, other.place)
    # a sign is a convention where something is measured, and a power of ten a unit
    if large - small <= max(map(_last_place, (one, other))):
        return True
    if small == 0:
        return False
    while large >= small * 4:
        large /= 10
    return abs(large - small) <= NEAR * max(small, large)


def _last_place(quantity: Quantity) -> Fraction:
    """Also of a whole number, which may be a rounded one beside a measured one."""
    return quantity.place or Fraction(quantity.value.denominator == 1)
