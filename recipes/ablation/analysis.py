"""Runs to what the page says: means, paired differences, and which metric would have warned in time.

A run **collapses** if it falls to less than half of the best accuracy it had. (At first only the end of a run counted;
the first run of a hacked judge fell from .89 to .38 and ended at .68.) The collapse begins with the first measurement
that lies more than `DROP` below the best one before it and is followed by none as good. An alarm counts as a warning
only if it rang before that; on a run that does not collapse, it is a false alarm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from scipy.stats import t as student

Run = Mapping[str, Any]

MISTAKES = 24
"""Of the policy that a measurement asks the judge about at most."""
DROP = 0.1
FOOLED = 0.8
"""`prefers_correct` below this rings; at least `FEWEST` pairs, for fewer say nothing."""
DRIFT = 1.1
"""A mean length of the rollouts of five steps above this multiple of that of the first five rings."""
LONGER_PAYS = 0.3
"""A correlation of reward and length within groups above this rings."""
BIASED = 0.15
"""The 95 % interval of the share of verdicts for Assistant 1 rings when all of it is further from 0.5 than this."""
FEWEST = 8
_WINDOW = 5
_THIRD = 3


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: of n values.
        stderr: standard error; NaN for one value.
        half: half the width of the 95 % interval by Student's t; NaN for one value.
        n: values.
    """

    mean: float
    stderr: float
    half: float
    n: int

    @property
    def told_apart(self) -> bool:
        """Whether 0 is outside of the interval."""
        return abs(self.mean) > self.half


def estimate(values: Sequence[float]) -> Estimate:
    """Mean, standard error and interval. With few seeds, two standard errors are too few: at n=3 it takes 4.3."""
    n = len(values)
    if n < 2:
        return Estimate(fmean(values) if values else math.nan, math.nan, math.nan, n)
    stderr = stdev(values) / math.sqrt(n)
    return Estimate(fmean(values), stderr, float(student.ppf(0.975, n - 1)) * stderr, n)


Figure = Callable[[Run], float]


def final(run: Run) -> float:
    """Accuracy after the last step."""
    return float(run["points"][-1]["accuracy"])


def on_the_way(run: Run) -> float:
    """Mean accuracy over all measurements after the first: who learns faster has more of it."""
    return fmean(point["accuracy"] for point in run["points"][1:])


def paired(runs: Iterable[Run], reference: Iterable[Run], figure: Figure = final) -> Estimate:
    """Difference of a figure over the group sizes and seeds that both have."""
    theirs = {(run["group_size"], run["seed"]): figure(run) for run in reference}
    ours = {(run["group_size"], run["seed"]): figure(run) for run in runs}
    return estimate([ours[key] - theirs[key] for key in ours if key in theirs])


def calls(run: Run) -> tuple[float, float]:
    """Judge calls a group: in the first third of the run, and in all of it."""
    known = [value for value in run["logged"]["judge_calls"] if value is not None]
    return fmean(known[: max(1, len(known) // _THIRD)]), fmean(known)


def preferences(run: Run) -> list[float]:
    """`prefers_correct` of every measurement with enough of the policy's mistakes."""
    return [point["prefers_correct"] for point in run["points"] if point["pairs"] >= FEWEST]


def collapse_began(run: Run) -> int | None:
    """The step at which a collapse began, None for a run that did not collapse."""
    accuracies = [point["accuracy"] for point in run["points"]]
    best = max(accuracies)
    if min(accuracies[accuracies.index(best) :]) >= 0.5 * best:
        return None
    last_good = max(
        index for index, accuracy in enumerate(accuracies) if accuracy >= max(accuracies[: index + 1]) - DROP
    )
    return int(run["points"][min(last_good + 1, len(accuracies) - 1)]["step"])


def fooled(run: Run) -> int | None:
    """The first step at which the judge no longer prefers the right answer to what the policy says."""
    for point in run["points"]:
        if point["pairs"] >= FEWEST and point["prefers_correct"] < FOOLED:
            return int(point["step"])
    return None


def drifted(run: Run) -> int | None:
    """The first step at which the rollouts have grown."""
    lengths = run["logged"]["train_length"]
    first = fmean(lengths[:_WINDOW])
    return next(
        (
            end
            for end in range(_WINDOW, len(lengths) + 1)
            if fmean(lengths[end - _WINDOW : end]) > DRIFT * first
        ),
        None,
    )


def pays_length(run: Run) -> int | None:
    """The first step, after the first five, at which the reward follows the length."""
    return _first(run["logged"]["length_correlation"], lambda value: value > LONGER_PAYS)


def biased(run: Run) -> int | None:
    """The first step at which the judge's verdicts lean to one side for certain."""
    logged = run["logged"]
    low = _first(logged["first_share_low"], lambda value: value > 0.5 + BIASED)
    high = _first(logged["first_share_high"], lambda value: value < 0.5 - BIASED)
    return min((step for step in (low, high) if step is not None), default=None)


def biased_from_the_start(run: Run) -> int | None:
    """The same, but looked at once, after five steps: before the policy has learnt anything."""
    rang = biased(run)
    return rang if rang is not None and rang <= _WINDOW else None


def shipped(run: Run) -> int | None:
    """The first warning of the package's own health alarms but that of the position, as they are shipped."""
    return next((step for step, name in run["warnings"] if name not in _POSITION), None)


_POSITION = ("position_bias", "bias_jump")


@dataclass(frozen=True, slots=True)
class Alarm:
    """A metric with a threshold.

    Attributes:
        title: as the page calls it.
        rang: the step at which it rang first, or None.
        live: whether it needs no right answers.
        needs: series that must be known for it to say anything.
    """

    title: str
    rang: Callable[[Run], int | None]
    live: bool = True
    needs: str | None = None

    def applies(self, run: Run) -> bool:
        """Whether the run has what it looks at: no verdicts, no share of them."""
        return self.needs is None or any(value is not None for value in run["logged"][self.needs])


ALARMS = (
    Alarm(f"`prefers_correct` < {FOOLED} (needs right answers)", fooled, live=False),
    Alarm(f"length of the rollouts > {DRIFT} x start", drifted),
    Alarm(f"`rrm/length_correlation` > {LONGER_PAYS}", pays_length, needs="length_correlation"),
    Alarm(f"`rrm/first_share` off .5 by > {BIASED}, at any time", biased, needs="first_share_low"),
    Alarm("the same, in the first five steps only", biased_from_the_start, needs="first_share_low"),
    Alarm("health alarms as shipped, but for the position", shipped),
)


@dataclass(frozen=True, slots=True)
class Warned:
    """How an alarm did on some runs.

    Attributes:
        collapsed: runs that collapsed, and to which it applies.
        before: of these, with the alarm before the collapse began.
        late: of these, with the alarm then or later.
        healthy: runs that did not collapse, and to which it applies.
        false: of these, with an alarm.
    """

    collapsed: int
    before: int
    late: int
    healthy: int
    false: int


def warned(runs: Iterable[Run], alarm: Alarm) -> Warned:
    """See `Warned`."""
    counts = [0, 0, 0, 0, 0]
    for run in runs:
        if not alarm.applies(run):
            continue
        began, rang = collapse_began(run), alarm.rang(run)
        if began is None:
            counts[3] += 1
            counts[4] += rang is not None
        else:
            counts[0] += 1
            counts[1] += rang is not None and rang < began
            counts[2] += rang is not None and rang >= began
    return Warned(*counts)


def _first(values: Sequence[float | None], rings: Callable[[float], bool]) -> int | None:
    """The first step, from the fifth on, whose value is known and rings."""
    for step, value in enumerate(values, 1):
        if step >= _WINDOW and value is not None and rings(value):
            return step
    return None
