r"""Answers that are formulae: read by `math-verify`'s own parser, compared by it, and told apart by their values.

`math_verify.parse` reads nearly everything as something (``H_2O`` as a product, ``5 m`` as 5, ``\pi R^2`` as
``\pi r^2``), so only what is surely a formula is given to its parser, with the case of its letters. And
`math_verify.verify` says False of what it cannot show to be equal; here False needs values that differ.
"""

from __future__ import annotations

import re
from typing import Any

from rrm_reward.data.pairs._numbers import NEAR

_GREEK = (
    "alpha|beta|gamma|delta|epsilon|varepsilon|zeta|eta|theta|vartheta|iota|kappa|lambda|mu|nu|xi|rho|sigma|tau|upsilon"
    "|phi|varphi|chi|psi|omega|Gamma|Delta|Theta|Lambda|Xi|Sigma|Phi|Psi|Omega"
)
_FUNCTIONS = "sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|sinh|cosh|tanh|log|ln|exp"
_COMMAND = re.compile(rf"\\(?:{_GREEK}|{_FUNCTIONS}|pi|frac|sqrt|cdot|times|div|binom)")
_BARE = re.compile(r"(?<![\\A-Za-z])(sin|cos|tan|log|ln|exp|pi|sqrt(?=\{))(?![A-Za-z])")
_TOKENS = re.compile(r"\\[A-Za-z]+|[A-Za-z]+|\d+(?:\.\d+)?|\.\d+|[-+*/^_(){}|!\s]")
_MIXED = re.compile(r"\d\s*\\frac|\d\s+\d|[\d)}]\s*_|\d\s*/\s*\d+\s*[A-Za-z\\(]")
_NAMES = re.compile(rf"\\(?:{_FUNCTIONS}|pi)(?![A-Za-z])|(?<![A-Za-z\\])[eij](?![A-Za-z])")
_VARIABLES = frozenset("abcknpqrstuvwxyz")
_POINTS = ((0.71, 0.37), (1.37, 0.29), (2.23, 0.41))
"""Where formulae are compared: the n-th letter is first + n times second. All positive, for roots and logarithms."""


def readable(text: str) -> str | None:
    """The text as the parser is given it, or None if it may be anything but a formula."""
    text = _BARE.sub(r"\\\1", text)
    if _MIXED.search(text) or _TOKENS.sub("", text) or not text:
        return None
    for token in _TOKENS.findall(text):
        if token.startswith("\\"):
            if not _COMMAND.fullmatch(token):
                return None
        elif token[0].isalpha() and len(token) > 1 and not (len(token) <= 3 and _VARIABLES.issuperset(token)):
            return None  # a word, a unit, a chemical formula, a segment
    return text


def same_expression(one: str, other: str, *, measured: bool = False) -> bool | None:
    """Whether two formulae are one: symmetric, True and False are sure.

    Args:
        one: an answer without dollars and LaTeX spaces (`_rules.undressed`).
        other: likewise.
        measured: numbers in both may be rounded, however they are written.
    """
    text, other_text = readable(one), readable(other)
    if text is None or other_text is None:
        return None
    names, other_names = set(_NAMES.findall(text)), set(_NAMES.findall(other_text))
    if r"\log" in names ^ other_names:
        return None  # of which base?
    parsed, other_parsed = _parsed(text), _parsed(other_text)
    if parsed is None or other_parsed is None or parsed.free_symbols != other_parsed.free_symbols:
        return None
    rough = measured or "." in text + other_text
    differ = _differ(parsed, other_parsed, near=float(NEAR) if rough else 1e-6)
    if not differ and _equal(parsed, other_parsed):
        return True
    constant = any(symbol.name in ("C", "c", "K") for symbol in parsed.free_symbols)
    if names != other_names or constant:
        return None  # 30 degrees or pi/6; another constant of integration
    return False if differ else None


def _parsed(text: str) -> Any:
    """As a sympy expression; None where it is none."""
    from latex2sympy2_extended import NormalizationConfig, latex2sympy
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig
    from sympy import Expr

    # letters one by one, for the parser knows words that it reads as units
    spaced = re.sub(r"(?<![\\A-Za-z])[A-Za-z]{2,}", lambda run: " ".join(run[0]), text)
    try:
        found = latex2sympy(
            spaced,
            normalization_config=NormalizationConfig(malformed_operators=True, boxed="none"),
            conversion_config=ConversionConfig(lowercase_symbols=False, interpret_as_mixed_fractions=False),
        )
    except Exception:
        return None  # the parser raises whatever it likes
    return found if isinstance(found, Expr) else None


def _equal(one: Any, other: Any) -> bool:
    from math_verify import verify
    from sympy import expand

    if expand(one - other) == 0:  # what is easy is settled here long before math-verify would be done
        return True
    return bool(verify(one, other, timeout_seconds=None) and verify(other, one, timeout_seconds=None))


def _differ(one: Any, other: Any, near: float) -> bool:
    """Whether both have values that differ by more than the share `near`, wherever one looks."""
    symbols = sorted(one.free_symbols, key=str)
    for first, step in _POINTS if symbols else _POINTS[:1]:
        at = {symbol: first + step * place for place, symbol in enumerate(symbols)}
        try:
            values = [complex(expression.evalf(30, subs=at)) for expression in (one, other)]
        except (TypeError, ValueError, OverflowError):
            return False
        size = max(map(abs, values))
        if not size < float("inf") or not abs(values[0] - values[1]) > near * size:
            return False
    return True
