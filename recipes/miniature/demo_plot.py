"""The demo's curve: reward, true accuracy and response length over the steps of a verl run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def series(metrics: Sequence[Mapping[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """Steps and values of one of verl's metrics, where it was logged; `name` is the beginning of its key."""
    points = [
        (line["step"], float(value))
        for line in metrics
        for key, value in line["data"].items()
        if key.startswith(name)
    ]
    return [step for step, _ in points], [value for _, value in points]


def validation(metrics: Sequence[Mapping[str, Any]]) -> tuple[list[int], list[float]]:
    """Steps and accuracies of verl's own validation."""
    points = [
        (line["step"], float(value))
        for line in metrics
        for key, value in line["data"].items()
        if key.startswith("val-core/") and "/acc/mean@" in key
    ]
    return [step for step, _ in points], [value for _, value in points]


def draw_curve(
    metrics: Sequence[Mapping[str, Any]], training: Mapping[int, float], file: Path, title: str
) -> None:
    """Three panels, one file.

    Args:
        metrics: as verl's file logger wrote them.
        training: true accuracy of the rollouts by step.
        file: to write, PNG.
        title: above the panels.

    The mean Elo of a group is constant but for identical rollouts, so the reward panel shows what moves: the best and
    worst reward of a step. They come together as the rollouts of a prompt become equally good.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (reward, accuracy, length) = plt.subplots(3, 1, figsize=(7, 8), sharex=True, layout="constrained")
    worst, mean, best = (series(metrics, f"critic/score/{which}") for which in ("min", "mean", "max"))
    reward.fill_between(worst[0], worst[1], best[1], alpha=0.25, label="worst to best")
    reward.plot(*mean, label="mean")
    reward.set_ylabel("reward (400 Elo points)")
    reward.legend(loc="upper right", fontsize="small")
    accuracy.plot(list(training), list(training.values()), alpha=0.6, label="rollouts in training")
    accuracy.plot(*validation(metrics), "o", label="held-out prompts")
    accuracy.set(ylabel="true accuracy", ylim=(0, 1))
    accuracy.legend(loc="lower right", fontsize="small")
    length.plot(*series(metrics, "response_length/mean"))
    length.set(ylabel="response length (tokens)", xlabel="step")
    length.set_ylim(bottom=0)
    figure.suptitle(title)
    figure.savefig(file, dpi=120)
    plt.close(figure)
