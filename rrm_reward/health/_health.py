"""Gathers what the arena tells, and turns it into gauges."""

from __future__ import annotations

import logging
import math

import numpy as np

from rrm_reward.config import HealthConfig
from rrm_reward.health._alarms import Alarms
from rrm_reward.health._consistency import agreement, flipped, flips_between_matches, tally, triads
from rrm_reward.health._group import decided, length_correlation
from rrm_reward.health._recent import Recent, RecentQuantiles, wilson
from rrm_reward.judge import Judgment
from rrm_reward.rating import Rating
from rrm_reward.types import GroupResult, NoVerdict, PositionBelief

logger = logging.getLogger(__name__)

HALF_LIFE = 2000
"""Votes (and comparisons) after which an observation counts half; of groups, an eighth of that."""

_SLOW = 10
"""How many times longer the share of Assistant 1 is remembered that a jump is measured from."""

_CHECK_EVERY = 8
"""Groups from one look at the alarms to the next."""

_BASELINE_GROUPS = 32
"""Groups whose mean length is the baseline where none is set."""

_REASONS = tuple(reason.value for reason in NoVerdict)
_VERDICTS = ("first", "second")
_FORCED = "forced"
_EVERYTHING = (*_VERDICTS, _FORCED, *_REASONS)
_PERCENTILES = (50, 90, 99)

GAUGES: dict[str, str] = {
    "rrm/first_share": "share of verdicts for Assistant 1; 0.5 of a judge without a position bias, in balanced orders",
    "rrm/first_share_low": "lower end of its 95 % confidence interval",
    "rrm/first_share_high": "upper end of it",
    "rrm/first_share_jump": "by how much that share is above its own average over ten times as long",
    "rrm/flip_rate": "share of pairs asked in both orders (judge.order=both, or two matches of a pair) "
    "in which the order decided",
    "rrm/vote_agreement": "share of pairs of votes on a match in one order that agree; 0.5 of coins (judge.votes > 1)",
    "rrm/intransitive": "share of circles among triples of responses that all met; 0.25 of coins",
    "rrm/no_verdict": "share of votes that count for nobody",
    **{f"rrm/no_verdict/{reason}": f"share of votes that count for nobody: {reason}" for reason in _REASONS},
    "rrm/forced": "share of votes that were cut off, and whose verdict was forced (judge.force)",
    "rrm/prompt_tokens": "mean tokens of a prompt, of the votes that were counted",
    "rrm/thinking_tokens": "mean tokens of a completion",
    "rrm/thinking_tokens/first": "mean tokens of a completion that prefers Assistant 1",
    "rrm/thinking_tokens/second": "mean tokens of a completion that prefers Assistant 2",
    "rrm/thinking_tokens/no_verdict": "mean tokens of a completion without a verdict",
    **{
        f"rrm/seconds_p{p}": f"{p}th percentile of the seconds of a comparison, within 2 %"
        for p in _PERCENTILES
    },
    "rrm/response_chars": "mean characters of a response as the judge sees it",
    "rrm/length_drift": "that, over health.length_baseline",
    "rrm/length_correlation": "mean correlation of reward and length within a group",
    "rrm/decided": "mean share of the spread of true ratings in a group that is known, in spite of the judge's noise",
    "rrm/position": "log-odds that Assistant 1 has for being it, learnt over all groups (position.learn)",
    "rrm/position_error": "standard deviation of that",
    "rrm/alarms": "warnings given so far",
}
"""What each gauge means. All are NaN until there is something to say, but for ``rrm/alarms``."""

HEADLINES = tuple(
    f"rrm/{name}"
    for name in (
        *("first_share", "first_share_jump", "position", "flip_rate", "vote_agreement", "intransitive"),
        *("no_verdict", *(f"no_verdict/{reason}" for reason in _REASONS), "decided"),
        *("thinking_tokens", *(f"thinking_tokens/{side}" for side in (*_VERDICTS, "no_verdict"))),
        *(f"seconds_p{p}" for p in _PERCENTILES),
        *("length_drift", "length_correlation", "alarms"),
    )
)
"""The gauges that travel with every sample, into trainers that log nothing but samples."""


class Health:
    """The judge's health, as the arena sees it; never raises.

    Args:
        settings: thresholds of the alarms, and the baseline of lengths.
        half_life: see `HALF_LIFE`.
    """

    def __init__(self, settings: HealthConfig | None = None, *, half_life: float = HALF_LIFE) -> None:
        settings = settings or HealthConfig()
        self._votes = Recent(half_life)
        self._slow = Recent(_SLOW * half_life)
        self._prompts = Recent(half_life)
        self._matches = Recent(half_life)
        self._groups = Recent(half_life / 8)
        self._seconds = RecentQuantiles(half_life)
        self._alarms = Alarms(settings)
        self._baseline = settings.length_baseline
        self._first_lengths: list[float] = []
        self._closed = 0
        self._position: PositionBelief | None = None
        self._failed = False

    def judged(self, judgment: Judgment, seconds: float, *, late: bool) -> None:
        """One comparison came back after this many seconds; a `late` one says as much about the judge as any other."""
        votes = judgment.votes
        asked = False
        for vote in votes:
            choice = vote.verdict.choice
            asked = asked or not vote.stored
            if choice is not None:
                side = _VERDICTS[choice - 1]
                self._votes.add(side, vote.completion_tokens)
                self._slow.add(side)
            elif vote.soft is not None:
                self._votes.add(_FORCED, vote.completion_tokens)
            else:
                assert vote.verdict.reason is not None
                self._votes.add(vote.verdict.reason.value, vote.completion_tokens)
            if vote.prompt_tokens:  # of siblings of one request only the first has them
                self._prompts.add("prompt", vote.prompt_tokens)
        if asked:  # what the verdict store answers takes no time, and says nothing of the judge's
            self._seconds.add(seconds)
        if len(votes) > 1:
            self._compare_votes(judgment)

    def closed(self, result: GroupResult, rating: Rating | None = None) -> None:
        """One group got its result; without the rating that gave it, how decided it is remains unknown."""
        try:
            self._position = result.position or self._position
            self._measure(result, rating)
            self._closed += 1
            if self._closed % _CHECK_EVERY == 0:
                votes, groups = self._votes.effective(*_EVERYTHING), self._groups.effective("group")
                self._alarms.check(self.gauges(), votes=votes, groups=groups)
        except Exception:
            # Whatever this is, it is our bug, and no reason to stop a training run.
            if not self._failed:
                logger.exception("group %s could not be measured; its health is unknown", result.id)
            self._failed = True

    def gauges(self) -> dict[str, float]:
        """Every number of `GAUGES`."""
        votes, groups, seconds = self._votes, self._groups, self._seconds
        everything = _EVERYTHING
        first = votes.share(["first"], _VERDICTS)
        low, high = wilson(first, votes.effective(*_VERDICTS))
        length = groups.mean("length")
        return {
            "rrm/first_share": first,
            "rrm/first_share_low": low if first == first else math.nan,
            "rrm/first_share_high": high if first == first else math.nan,
            "rrm/first_share_jump": first - self._slow.share(["first"], _VERDICTS),
            "rrm/flip_rate": self._matches.mean("flip"),
            "rrm/vote_agreement": self._matches.mean("agreement"),
            "rrm/intransitive": groups.ratio("circles", "triples"),
            "rrm/no_verdict": votes.share(_REASONS, everything),
            **{f"rrm/no_verdict/{r}": votes.share([r], everything) for r in _REASONS},
            "rrm/forced": votes.share([_FORCED], everything),
            "rrm/prompt_tokens": self._prompts.mean("prompt"),
            "rrm/thinking_tokens": votes.mean(*everything),
            "rrm/thinking_tokens/first": votes.mean("first"),
            "rrm/thinking_tokens/second": votes.mean("second"),
            "rrm/thinking_tokens/no_verdict": votes.mean(*_REASONS),
            **{f"rrm/seconds_p{p}": seconds.quantile(p / 100) for p in _PERCENTILES},
            "rrm/response_chars": length,
            "rrm/length_drift": length / self._baseline if self._baseline else math.nan,
            "rrm/length_correlation": groups.mean("correlation"),
            "rrm/decided": groups.mean("decided"),
            "rrm/position": self._position.mean if self._position else math.nan,
            "rrm/position_error": self._position.deviation if self._position else math.nan,
            "rrm/alarms": float(len(self._alarms.rung)),
        }

    def snapshot(self) -> dict[str, float]:
        """The gauges that are known, as `Arena.snapshot` names them: ``health_flip_rate`` for ``rrm/flip_rate``."""
        return {plain_name(name): value for name, value in self.gauges().items() if value == value}

    def headlines(self) -> dict[str, float]:
        """The gauges of `HEADLINES` for trainers that need the same finite numbers every time; 0.0 while unknown."""
        gauges = self.gauges()
        return {name: gauges[name] if math.isfinite(gauges[name]) else 0.0 for name in HEADLINES}

    def _compare_votes(self, judgment: Judgment) -> None:
        self._matches.add("match")
        for order in tally(judgment.votes):
            if (share := agreement(order)) is not None:
                self._matches.add("agreement", share, tick=False)
        if (flip := flipped(judgment.votes)) is not None:
            self._matches.add("flip", flip, tick=False)

    def _measure(self, result: GroupResult, rating: Rating | None) -> None:
        groups = self._groups
        groups.add("group")
        circles, triples = triads(len(result.rewards), result.outcomes)
        groups.add("circles", circles, tick=False)
        groups.add("triples", triples, tick=False)
        for flip in flips_between_matches(result.outcomes):
            self._matches.add("flip", flip)
        if rating is not None and (share := decided(result.ratings, rating)) is not None:
            groups.add("decided", share, tick=False)
        if (correlation := length_correlation(result.rewards, result.lengths)) is not None:
            groups.add("correlation", correlation, tick=False)
        if lengths := [length for length in result.lengths if length]:
            mean = float(np.mean(lengths))
            groups.add("length", mean, tick=False)
            if self._baseline is None:
                self._first_lengths.append(mean)
                if len(self._first_lengths) == _BASELINE_GROUPS:
                    self._baseline = float(np.mean(self._first_lengths))


def plain_name(gauge: str) -> str:
    """The name of a gauge where slashes mean something else: ``health_flip_rate`` for ``rrm/flip_rate``."""
    return f"health_{gauge.removeprefix('rrm/').replace('/', '_')}"
