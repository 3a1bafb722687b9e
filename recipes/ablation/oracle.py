"""Judges that know the answer, for ``judge.kind: oracle``."""

from __future__ import annotations

from recipes.ablation.wording import plain
from recipes.miniature.task import right_answer


def score(query: str, response: str) -> float:
    """The rule's reward: 1 for the right answer, 0 for any other."""
    return float(plain(response) == right_answer(query))


def prefer(query: str, a: str, b: str) -> float:
    """The probability that a is better: a coin between equals."""
    return 0.5 + (score(query, a) - score(query, b)) / 2
