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

DROP = 0.1
FOOLED = 0.8
"""`prefers_correct` below this rings; at least `FEWEST` pairs, for fewer say nothing."""
DRIFT = 1.1
"""A mean length of the rollouts of five steps above this multiple of that of the first five rings."""
BIASED = 0.15
"""A share of verdicts for Assistant 1 over five steps further from 0.5 than this rings."""
FEWEST = 8
_WINDOW = 5


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


def estimate(values: Sequence[float]) -> Estimate:
    """Mean, standard error and interval. With few seeds, two standard errors are too few: at n=3 it takes 4.3."""
    n = len(values)
    if n < 2:
        return Estimate(fmean(values) if values else math.nan, math.nan, math.nan, n)
    stderr = stdev(values) / math.sqrt(n)
    return Estimate(fmean(values), stderr, float(student.ppf(0.975, n - 1)) * stderr, n)


def final(run: Run) -> float:
    """Accuracy after the last step."""
    return float(run["points"][-1]["accuracy"])


def paired(runs: Iterable[Run], reference: Iterable[Run]) -> Estimate:
    """Difference of final accuracies over the seeds that both have."""
    theirs = {run["seed"]: final(run) for run in reference}
    return estimate([final(run) - theirs[run["seed"]] for run in runs if run["seed"] in theirs])


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
    return _first(lengths, lambda recent: fmean(recent) > DRIFT * first)


def biased(run: Run) -> int | None:
    """The first step at which the judge's verdicts lean to one side."""
    return _first(run["logged"]["first_share"], lambda recent: abs(fmean(recent) - 0.5) > BIASED)


ALARMS: dict[str, Callable[[Run], int | None]] = {
    f"`prefers_correct` < {FOOLED}": fooled,
    f"length > {DRIFT} x start": drifted,
    f"`first_share` off .5 by > {BIASED}": biased,
}
"""Every alarm, by what the page calls it: the step at which it rang first, or None."""


@dataclass(frozen=True, slots=True)
class Warned:
    """How an alarm did on the runs of a row.

    Attributes:
        collapsed: runs that collapsed.
        before: of these, with the alarm before the collapse began.
        late: of these, with the alarm then or later.
        healthy: runs that did not collapse.
        false: of these, with an alarm.
    """

    collapsed: int
    before: int
    late: int
    healthy: int
    false: int


def warned(runs: Iterable[Run], alarm: Callable[[Run], int | None]) -> Warned:
    """See `Warned`."""
    counts = [0, 0, 0, 0, 0]
    for run in runs:
        began, rang = collapse_began(run), alarm(run)
        if began is None:
            counts[3] += 1
            counts[4] += rang is not None
        else:
            counts[0] += 1
            counts[1] += rang is not None and rang < began
            counts[2] += rang is not None and rang >= began
    return Warned(*counts)


def _first(values: Sequence[float | None], rings: Callable[[Sequence[float]], bool]) -> int | None:
    """The first step whose window of values, all of them known, rings."""
    for end in range(_WINDOW, len(values) + 1):
        recent = [value for value in values[end - _WINDOW : end] if value is not None]
        if len(recent) == _WINDOW and rings(recent):
            return end
    return None
