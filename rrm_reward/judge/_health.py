"""What a judge counts about itself, and when it raises its voice.

A judge whose verdicts cannot be read looks, to the trainer, like a policy without a signal. It is nearly
always a wrong tokenizer or chat template, and nothing else in the system would ever say so.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass

from rrm_reward.judge._backend import Completion
from rrm_reward.types import NoVerdict, Verdict, Vote

logger = logging.getLogger(__name__)

_WINDOW = 64
_ENOUGH = 32
_TAIL_CHARS = 200

_NO_VERDICT = (
    "NO VERDICT in %d of the judge's last %d completions. %s Rewards are missing until this is mended. "
    "One of them, which ended by %r, reads: ... %r"
)
_UNREADABLE = "It is a wrong tokenizer or chat template of the judge, or not an RRM; it is not a bad policy."
_TRUNCATED = (
    "Most of them ran into judge.max_tokens: raise it. If they never come to an end, or look garbled, "
    "it is a wrong tokenizer or chat template of the judge."
)


@dataclass(slots=True)
class JudgeCounts:
    """What only the judge knows of a run; whatever its judgments tell is counted by `rrm_reward.metrics`, once.

    Attributes:
        cut: comparisons whose texts were cut to fit the judge's context.
        stored: votes that the verdict store answered, for free.
        cancelled: votes that an early stop cancelled.
        spared: votes that an early stop left unasked.
        reasks: votes asked again for want of a verdict.
        forced: truncated votes that gave a probability when they were forced.
        unforced: those that were forced in vain.
        errors: votes whose request failed.
    """

    cut: int = 0
    stored: int = 0
    cancelled: int = 0
    spared: int = 0
    reasks: int = 0
    forced: int = 0
    unforced: int = 0
    errors: int = 0

    def recalled(self, vote: Vote) -> None:
        """Count one vote that the store knew."""
        self.stored += 1
        self.forced += vote.soft is not None


class Alarm:
    """Warns once when most of the latest completions hold no verdict, and ever more rarely of failures."""

    def __init__(self) -> None:
        self._latest: deque[NoVerdict | None] = deque(maxlen=_WINDOW)
        self._without = 0
        self._rung = False
        self._next_error_report = 1
        self._traced = False

    def heard(self, completion: Completion, verdict: Verdict) -> None:
        """A completion came; what was read from it."""
        if self._rung:
            return
        latest = self._latest
        if len(latest) == _WINDOW:
            self._without -= latest[0] is not None
        latest.append(verdict.reason)
        if verdict.reason is not None:
            self._without += 1
            if len(latest) >= _ENOUGH and 2 * self._without > len(latest):
                self._ring(completion)

    def _ring(self, completion: Completion) -> None:
        self._rung = True
        truncated = sum(reason is NoVerdict.TRUNCATED for reason in self._latest)
        cause = _TRUNCATED if 2 * truncated > self._without else _UNREADABLE
        tail = completion.text[-_TAIL_CHARS:]
        logger.error(_NO_VERDICT, self._without, len(self._latest), cause, completion.finish_reason, tail)

    def failed(self, errors: int, reason: str) -> None:
        """Votes got no completion; `errors` is their number so far. Reported at 1, 10, 100, ..."""
        if errors >= self._next_error_report:
            while errors >= self._next_error_report:
                self._next_error_report *= 10
            logger.error("%d votes are missing so far because requests failed; last: %s", errors, reason)

    def unforced(self, number: int, reason: str) -> None:
        """A verdict could not be forced; `number` so far. Reported at 1, 10, 100, ..."""
        if number == 10 ** (len(str(number)) - 1):
            logger.warning("%d truncated votes could not be forced so far; last: %s", number, reason)

    def surprised(self, errors: int, error: Exception) -> None:
        """Something was raised that no backend should raise: a bug. Its traceback is logged once."""
        if not self._traced:
            self._traced = True
            logger.error("a comparison failed in an unexpected way, please report this bug", exc_info=error)
        self.failed(errors, f"{type(error).__name__}: {error}")
