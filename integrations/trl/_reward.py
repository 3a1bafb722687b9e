"""`RRMReward`: the function that TRL calls with a batch of rollouts.

One call goes like this, in every process alike:

    rows  ->  groups (over all processes)  ->  my groups  ->  judge  ->  rewards (of all)  ->  my rows' rewards

A group belongs to the process that holds its first row: every group is judged once, and the judging is shared out.
Only if a group lies across processes are texts exchanged, and rewards always are, for the metrics.

**Unknown rewards** are ``None``: TRL leaves them out of the group's mean and gives them an advantage of 0.

**Faults.** A configuration that cannot work, a judge that is not there, and, in the first call of training or
evaluation, groups that cannot be told apart raise `ConfigError`. After that nothing raises: what goes wrong is a
``None``, counted in `RRMReward.counts` and logged.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rrm_reward.config import RRMConfig, load, validate
from rrm_reward.errors import ConfigError
from rrm_reward.integrations.trl._grouping import Key, blocks, find_groups, group_size, refuse_scaling
from rrm_reward.integrations.trl._judge_thread import JudgeThread
from rrm_reward.integrations.trl._metrics import GroupReward, describe, describe_health, read_result
from rrm_reward.integrations.trl._ranks import Ranks
from rrm_reward.integrations.trl._rows import Row, read_keys, read_rows
from rrm_reward.types import Group

logger = logging.getLogger(__name__)

Rewards = list[float | None]


class RRMReward:
    """A reward function for `GRPOTrainer`: the rewards of a judge that compares the rollouts of each prompt.

    Args:
        config: the one configuration tree, as an object, a mapping, or the path of a YAML file.
        overrides: ``key=value`` settings on top of it.
        num_generations: rollouts of a prompt; None takes the trainer's.
        num_generations_eval: the same in evaluation; None takes the trainer's, or `num_generations`.
        id_column: column of the dataset that names the prompt of each row, checked where there is one.
        name: under which the trainer logs; also the prefix of the metrics.

    Attributes:
        counts: ``calls``, ``groups``, ``unknown`` rewards, ``unjudged`` groups, ``misgrouped`` calls, ``errors``.

    Raises:
        ConfigError: with key, value and fix; the judge is asked before the trainer is made.
    """

    def __init__(
        self,
        config: RRMConfig | Mapping[str, Any] | str | Path,
        overrides: Sequence[str] = (),
        *,
        num_generations: int | None = None,
        num_generations_eval: int | None = None,
        id_column: str = "prompt_id",
        name: str = "rrm",
    ) -> None:
        for key, size, least in (
            ("num_generations", num_generations, 2),
            ("num_generations_eval", num_generations_eval, 1),
        ):
            if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < least):
                raise ConfigError(key, size, f"must be a whole number, at least {least}, or None")
        self.__name__ = name
        self._sizes = num_generations, num_generations_eval
        self._id_column = id_column
        self._config = _read(config, overrides)
        self._ranks = Ranks()
        self._seen: set[str] = set()
        self.counts: Counter[str] = Counter()
        self._judge = JudgeThread(_of_this_process(self._config))

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Rewards:
        """The rewards of this process's rollouts, None where nothing is known; waits for the judge.

        Args:
            prompts: text, or chat messages, of each rollout.
            completions: the same.
            columns: whatever else TRL passes; the id column and ``log_metric`` are read.

        Raises:
            ConfigError: in the first call of training or evaluation, if groups cannot be told apart, or if the trainer
                would divide rewards again that the scale ``decided`` has divided.
        """
        self.counts["calls"] += 1
        try:
            self._ranks.join()
            return self._rewards(prompts, completions, columns)
        except ConfigError:
            raise
        except Exception as error:
            self._complain("errors", f"{len(prompts)} rollouts get no reward", error)
            return [None] * len(prompts)

    @property
    def concurrent(self) -> Callable[..., Awaitable[Rewards]]:
        """The same as an async function, which TRL runs beside other async reward functions."""

        async def rewards(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Rewards:
            # before the first await: TRL begins its async functions in one order in every process
            self._ranks.join()
            return await asyncio.to_thread(self, prompts, completions, **columns)

        rewards.__name__ = self.__name__
        return rewards

    def snapshot(self) -> dict[str, float]:
        """Counters of the arena and its judge since the start, of this process."""
        return self._judge.snapshot()

    def close(self) -> None:
        """Release the judge; idempotent. Happens by itself at the end of the program."""
        self._judge.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Crosses processes as its configuration, with a judge of its own on the other side."""
        return _again, (self._config, *self._sizes, self._id_column, self.__name__)

    def _rewards(
        self, prompts: Sequence[Any], completions: Sequence[Any], columns: Mapping[str, Any]
    ) -> Rewards:
        mine = read_rows(prompts, completions)
        keys = self._ranks.tell(read_keys(columns.get(self._id_column), len(mine)))
        offsets = _offsets(keys)
        every = [key for part in keys for key in part]
        groups = self._groups(every, columns.get("log_metric"))
        if self.counts["calls"] == 1 and self._config.reward.scale == "decided":
            refuse_scaling(columns.get("log_metric"))
        start, end = offsets[self._ranks.rank], offsets[self._ranks.rank + 1]
        rows: dict[int, Row] = dict(enumerate(mine, start))
        if _straddle(groups, offsets):
            rows = dict(enumerate(row for part in self._ranks.tell(mine) for row in part))
        own = [group for group in groups if start <= group.start < end]
        told = self._ranks.tell((self._judged(own, rows, every), self._judge.health()))
        judged = [answer for part, _ in told for answer in part]
        # each process tells its groups in order, and the processes stand in order: so do all groups
        known = {row: reward for group, answer in zip(groups, judged, strict=True)
                 for row, reward in zip(group, answer.rewards, strict=True)}  # fmt: skip
        rewards = [known[row] for row in range(start, end)]
        self.counts["unknown"] += sum(reward is None for reward in rewards)
        self._log(judged, [health for _, health in told], columns.get("log_metric"))
        return rewards

    def _groups(self, keys: Sequence[Key], log_metric: Any) -> list[range]:
        """See `find_groups`; after the first call what is wrong is counted, and the trainer's blocks are taken."""
        size = group_size(*self._sizes, log_metric)
        try:
            groups = find_groups(keys, size)
        except ConfigError as error:
            if size.setting not in self._seen:
                raise
            self._complain("misgrouped", str(error))
            return blocks(len(keys), size.size or len(keys))
        self._seen.add(size.setting)
        return groups

    def _judged(
        self, groups: Sequence[range], rows: Mapping[int, Row], keys: Sequence[Key]
    ) -> list[GroupReward]:
        """What every one of the groups came to; never raises, for other processes wait for the answer."""
        self.counts["groups"] += len(groups)
        asked = [
            Group(
                keys[group.start] or f"{self.counts['calls']}.{group.start}",
                rows[group.start].query,
                [rows[row].text for row in group],
            )
            for group in groups
        ]
        try:
            results = self._judge.judge(asked)
        except Exception as error:
            self._complain("errors", f"{len(groups)} groups get no reward", error)
            results = [None] * len(groups)
        if unjudged := sum(result is None for result in results):
            self._complain(
                "unjudged", f"{unjudged} groups cannot be judged: is every prompt text or messages?"
            )
        return [read_result(result, len(group)) for result, group in zip(results, groups, strict=True)]

    def _log(
        self, judged: Sequence[GroupReward], health: Sequence[Mapping[str, float]], log_metric: Any
    ) -> None:
        """The same names in every process: TRL averages them over processes, name by name."""
        if not callable(log_metric):
            return
        for name, value in {**describe(judged), **describe_health(health)}.items():
            if math.isfinite(value):
                log_metric(f"{self.__name__}/{name}", value)

    def _complain(self, what: str, message: str, error: Exception | None = None) -> None:
        """Count, and log at the 1st, 2nd, 4th, 8th... of each kind."""
        self.counts[what] += 1
        if self.counts[what].bit_count() == 1:
            logger.error("%s (%d so far)", message, self.counts[what], exc_info=error)


def _read(config: RRMConfig | Mapping[str, Any] | str | Path, overrides: Sequence[str]) -> RRMConfig:
    if isinstance(config, RRMConfig):
        if overrides:
            raise ConfigError("overrides", list(overrides), "set them in the RRMConfig itself")
        validate(config)
        return config
    if isinstance(config, Mapping):
        return load(tree=config, overrides=overrides)
    return load(config, overrides)


def _of_this_process(config: RRMConfig) -> RRMConfig:
    """With files of its own: every process of a run judges, and none but the first writes where the user said."""
    rank = os.environ.get("RANK", "0")
    if rank == "0":
        return config

    def own(part: Any) -> Any:
        return replace(part, path=f"{part.path}.{rank}") if part.path else part

    return replace(config, log=own(config.log), position=own(config.position))


def _again(config: RRMConfig, size: int | None, size_eval: int | None, column: str, name: str) -> RRMReward:
    return RRMReward(
        config, num_generations=size, num_generations_eval=size_eval, id_column=column, name=name
    )


def _offsets(parts: Sequence[Sequence[Any]]) -> list[int]:
    """Where each process's rows begin, and the number of all rows."""
    offsets = [0]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    return offsets


def _straddle(groups: Sequence[range], offsets: Sequence[int]) -> bool:
    """Whether a group lies across processes."""
    starts = {group.start for group in groups}
    return any(0 < offset < offsets[-1] and offset not in starts for offset in offsets)
