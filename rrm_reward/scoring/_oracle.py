"""A function of the user's as the judge: the truth of a toy task, a rule, a stand-in for tests and ablations.

``judge.function: package.module:name`` names it. It is called with texts, may be a coroutine function, and is told from
its number of arguments without a default:

- of (query, a, b): the probability that a is better, in [0, 1], or a bool; None where it cannot say;
- of (query, response): the response's score in log-odds; None where it cannot say.

What it raises is a missing outcome, counted, and logged the first time.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

from rrm_reward.errors import ConfigError
from rrm_reward.judge import Judgment, render_query
from rrm_reward.scoring._base import Score, Scorer
from rrm_reward.types import NoVerdict, Query, Verdict, Vote

logger = logging.getLogger(__name__)

View = Callable[[str], str]


class _Function:
    """The user's function, which may fail."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.counts: Counter[str] = Counter()

    async def __call__(self, *texts: str) -> float | None:
        """Its number, or None where it gives none."""
        self.counts["calls"] += 1
        try:
            answer = self._function(*texts)
            if inspect.isawaitable(answer):
                answer = await answer
            number = None if answer is None else float(answer)
            if number is not None and math.isnan(number):
                raise ValueError("it returned NaN; return None where nothing is known")
        except Exception:
            self.counts["errors"] += 1
            if self.counts["errors"] == 1:
                logger.exception("judge.function failed; whatever it fails on is missing")
            return None
        return number


class OracleComparer:
    """A `Comparer` around a function of (query, a, b).

    Args:
        function: see the module's text.
        view: what of a response it sees.
    """

    width = 1

    def __init__(self, function: Callable[..., Any], view: View) -> None:
        self._function = _Function(function)
        self._view = view

    async def start(self) -> None:
        """See `Comparer.start`: there is nothing to load."""

    async def aclose(self) -> None:
        """See `Comparer.aclose`."""

    def snapshot(self) -> dict[str, float]:
        """See `Comparer.snapshot`."""
        return {"oracle_errors": float(self._function.counts["errors"])}

    def view(self, response: str) -> str:
        """See `Comparer.view`."""
        return self._view(response)

    async def compare(self, query: Query, a: str, b: str, *, seed: int = 0) -> Judgment:
        """See `Comparer.compare`. A probability of 0.5 is a tie without a vote."""
        p = await self._function(render_query(query), a, b)
        if p is None:
            return Judgment(None, (Vote(True, Verdict(None, NoVerdict.ERROR)),), 1)
        p = min(1.0, max(0.0, p))
        votes = () if p == 0.5 else (Vote(True, Verdict(1 if p > 0.5 else 2)),)
        return Judgment(p, votes, 1)


class OracleScorer(Scorer):
    """A `Scorer` around a function of (query, response).

    Args:
        function: see the module's text.
        view: what of a response it sees.
    """

    def __init__(self, function: Callable[..., Any], view: View) -> None:
        self._function = _Function(function)
        self._view = view

    def view(self, response: str) -> str:
        """See `Comparer.view`."""
        return self._view(response)

    def snapshot(self) -> dict[str, float]:
        """See `Comparer.snapshot`."""
        return {"oracle_errors": float(self._function.counts["errors"])}

    async def score(self, query: Query, response: str) -> Score:
        """See `Scorer.score`."""
        return Score(await self._function(render_query(query), response))


def load_function(name: str) -> tuple[Callable[..., Any], int]:
    """The function of ``judge.function``, and how many texts it wants: 2 or 3.

    Raises:
        ConfigError: it cannot be imported, or takes another number of arguments.
    """
    module, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as error:
        reason = f"cannot be imported ({type(error).__name__}: {error})"
        raise ConfigError("judge.function", name, f"{reason}; write package.module:name") from error
    if not callable(found):
        raise ConfigError("judge.function", name, "is no function")
    try:
        wanted = [
            parameter
            for parameter in inspect.signature(found).parameters.values()
            if parameter.default is parameter.empty
            and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]
    except (TypeError, ValueError) as error:
        raise ConfigError("judge.function", name, f"its arguments cannot be read ({error})") from error
    if len(wanted) not in (2, 3):
        raise ConfigError(
            "judge.function",
            name,
            f"takes {len(wanted)} arguments; write one of (query, response) or of (query, a, b)",
        )
    return found, len(wanted)
