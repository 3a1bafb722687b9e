"""Which rollouts are one group.

TRL passes rollouts of one prompt side by side and says neither how many nor whether it evaluates. It then takes the
mean reward of every `num_generations` neighbours, counted over all processes in the order of their ranks: those
neighbours are the groups, whatever a reward function thinks. So their number is what has to be known. It comes from,
in this order:

1. the user (``RRMReward(num_generations=8, num_generations_eval=2)``);
2. the trainer, to which the argument ``log_metric`` is bound, together with whether it evaluates;
3. a column that names the prompt of each row: neighbours with one name are a group.

Where several are known they must agree. The text of the prompt decides nothing: neighbouring groups may share it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rrm_reward.errors import ConfigError

Key = str | None
"""The prompt id of a row, None where there is none."""


@dataclass(frozen=True, slots=True)
class GroupSize:
    """What is known of the size of a group.

    Attributes:
        size: rollouts of a prompt: the trainer's number, or else the user's; None if nobody said.
        said: the user's number, None for nothing.
        setting: of TRL and of `RRMReward`, for messages.
    """

    size: int | None
    said: int | None
    setting: str


def group_size(configured: int | None, configured_eval: int | None, log_metric: Any) -> GroupSize:
    """The size of the groups of this call.

    Args:
        configured: what the user said of training, None for nothing.
        configured_eval: the same of evaluation; None is what the trainer says, or else as in training.
        log_metric: TRL's argument of that name, a method of the trainer, or anything else.
    """
    trainer = getattr(log_metric, "__self__", None)
    evaluates = getattr(getattr(trainer, "model", None), "training", True) is False
    setting = "num_generations_eval" if evaluates else "num_generations"
    said = configured_eval if evaluates else configured
    known = getattr(trainer, setting, None)
    return GroupSize(known if isinstance(known, int) else said or configured, said, setting)


def refuse_scaling(log_metric: Any) -> None:
    """Rewards that know their noise must not be divided by a standard deviation, which is mostly noise.

    Args:
        log_metric: see `group_size`; a trainer that says nothing of scaling is believed.

    Raises:
        ConfigError: the trainer scales rewards.
    """
    scaling = getattr(getattr(log_metric, "__self__", None), "scale_rewards", None)
    if scaling not in (None, False, "none"):
        raise ConfigError(
            "scale_rewards",
            scaling,
            "it undoes reward.scale=decided: set GRPOConfig(scale_rewards=False), in newer versions 'none'",
        )


def find_groups(keys: Sequence[Key], size: GroupSize) -> list[range]:
    """The groups among the rows of all processes, as ranges of row numbers that cover every row.

    Args:
        keys: prompt ids of the rows, in rank order.
        size: see `group_size`.

    Raises:
        ConfigError: nothing says what a group is, or what is said contradicts itself.
    """
    if size.size is None:
        return _runs(keys)
    if size.said not in (None, size.size):
        raise ConfigError(
            size.setting,
            size.said,
            f"the trainer rolls out {size.size} completions a prompt; say the same, or nothing",
        )
    groups = blocks(len(keys), size.size)
    if groups and len(groups[-1]) < size.size:
        raise ConfigError(
            size.setting,
            size.size,
            f"{len(keys)} completions over all processes are no whole number of groups of {size.size}; make "
            f"generation_batch_size (per_device_train_batch_size x processes x steps_per_generation) a multiple of it",
        )
    for group in groups:
        names = {keys[row] for row in group}
        if len(names) > 1:
            raise ConfigError(
                size.setting,
                size.size,
                f"the {size.size} completions from number {group.start} on belong to the prompts "
                f"{', '.join(sorted(map(str, names)))}; the prompt id must be one a row of the dataset, and groups of "
                f"{size.size} what the trainer rolls out",
            )
    return groups


def blocks(count: int, size: int) -> list[range]:
    """Rows in blocks of `size`, the last one shorter where they do not come out even."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def _runs(keys: Sequence[Key]) -> list[range]:
    if any(key is None for key in keys):
        raise ConfigError(
            "num_generations",
            None,
            "nothing says which completions are a group; give RRMReward num_generations (GRPOConfig's), or the dataset "
            "a prompt_id column",
        )
    starts = [row for row in range(len(keys)) if row == 0 or keys[row] != keys[row - 1]]
    return [range(start, end) for start, end in itertools.pairwise([*starts, len(keys)])]
