"""What a run came to, summed up for the one who started it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from rrm_reward.types import GroupResult, Outcome


@dataclass
class Tally:
    """Sums over the groups of this run; lines of an earlier run count in `earlier` and `malformed` only.

    Attributes:
        finished: lines, whatever became of them.
        groups: judged.
        responses: in those groups, failed members included.
        earlier: lines that an earlier run had finished.
        malformed: lines that could not be judged, those of an earlier run included.
        unrewarded: responses without a reward, failed members included.
        comparisons, calls, missing: as in `GroupResult`.
        reasons: why outcomes are missing: the commonest reason among the votes of each.
        notes: the counters of the groups, for example ``duplicates``.
        prompt_tokens, completion_tokens: spent by the judge.
    """

    finished: int = 0
    groups: int = 0
    responses: int = 0
    earlier: int = 0
    malformed: int = 0
    unrewarded: int = 0
    comparisons: int = 0
    calls: int = 0
    missing: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)

    def add(self, result: GroupResult) -> None:
        """Count one group."""
        self.groups += 1
        self.responses += len(result.rewards)
        self.unrewarded += sum(reward != reward for reward in result.rewards.tolist())
        self.comparisons += result.comparisons
        self.calls += result.calls
        self.missing += result.missing
        self.prompt_tokens += result.prompt_tokens
        self.completion_tokens += result.completion_tokens
        self.notes.update(result.notes)
        if result.missing:
            self.reasons.update(_reason(outcome) for outcome in result.outcomes if outcome.p is None)

    def summary(self, seconds: float) -> list[str]:
        """The summary, a few lines of text.

        Args:
            seconds: that the run took.
        """
        missing = f"{self.missing} missing"
        if self.reasons:
            missing += " (" + ", ".join(f"{n} {reason}" for reason, n in self.reasons.most_common()) + ")"
        rate = self.comparisons / seconds if seconds > 0 else 0.0
        text = [
            f"{self.groups} groups, {self.responses} responses, {self.unrewarded} without a reward",
            f"{self.comparisons} comparisons, {self.calls} calls, {missing}",
            f"{self.prompt_tokens} prompt and {self.completion_tokens} completion tokens of the judge",
            f"{seconds:.1f} s, {rate:.1f} comparisons/s",
        ]
        if self.notes:
            text.append("notes: " + ", ".join(f"{name} {n}" for name, n in sorted(self.notes.items())))
        if self.earlier:
            text.append(f"{self.earlier} lines were there from an earlier run")
        if self.malformed:
            text.append(f"{self.malformed} lines could not be judged; they are named above and in the output")
        return text


def _reason(outcome: Outcome) -> str:
    """The commonest reason among the votes of a missing outcome."""
    reasons = Counter(vote.verdict.reason.value for vote in outcome.votes if vote.verdict.reason is not None)
    return reasons.most_common(1)[0][0] if reasons else "not asked"
