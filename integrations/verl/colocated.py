"""A trainer for verl 0.9 in which the judge shares the policy's GPUs.

    trainer.v1.trainer_mode=rrm_colocated      VERL_USE_EXTERNAL_MODULES=rrm_reward.integrations.verl.colocated
    rrm.judge.backend=ray  rrm.judge.cluster={share: 0.3, sleep: 1, tensor_parallel: 4}

A step of verl's synchronous trainer, with the judge in between:

    rollout -> rollout sleeps -> judge wakes -> the whole batch is judged -> judge sleeps -> policy is trained -> ...

The judge's replicas lie on bundles of verl's own placement groups and take a share of each GPU beside verl's workers.
They are loaded before the rollout engine wakes for the first time. What judging cost and found stands in verl's own
logs under ``rrm/``. Any judge works here; one that is served elsewhere is simply asked batch by batch.

verl's own hook for colocated reward models is used (`_compute_reward_colocate`), which is not documented: what this
trainer relies on is checked when the module is imported.
"""

from __future__ import annotations

import inspect
import logging
from collections import defaultdict
from dataclasses import replace
from typing import Any
from uuid import uuid4

from rrm_reward.integrations.verl._version import require_verl

_VERL = require_verl()

try:
    import numpy as np
    import torch
    import transfer_queue as tq
    from omegaconf import open_dict
    from ray.util.placement_group import placement_group_table
    from verl.trainer.ppo.reward import get_custom_reward_fn
    from verl.trainer.ppo.v1.trainer_base import register_trainer
    from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
    from verl.utils import tensordict_utils as tu
    from verl.utils.reward_score import default_compute_score
except ImportError as error:
    raise ImportError(f"the colocated trainer needs verl 0.9, and this is {_VERL} ({error})") from error

from rrm_reward.errors import ConfigError  # noqa: E402
from rrm_reward.integrations.verl._local_hub import LocalHub, Timing  # noqa: E402
from rrm_reward.integrations.verl._rewarder import Rewarder  # noqa: E402
from rrm_reward.integrations.verl._sample import Sample, read_query  # noqa: E402
from rrm_reward.integrations.verl._settings import Settings, read_settings  # noqa: E402

logger = logging.getLogger(__name__)

MODE = "rrm_colocated"
"""The value of ``trainer.v1.trainer_mode``."""

_SIGNATURES = {"_setup": ["self"], "_compute_reward_colocate": ["self", "batch", "metrics"]}

for _name, _expected in _SIGNATURES.items():
    _found = list(inspect.signature(getattr(PPOTrainerSync, _name)).parameters)
    if _found != _expected:
        raise ImportError(
            f"verl {_VERL}: PPOTrainerSync.{_name} takes {_found}, not {_expected} as in 0.9.1; use the reward manager "
            "(docs/verl.md) with a judge on GPUs of its own"
        )


def check_sharing(config: Any, settings: Settings) -> None:
    """A judge that shares GPUs must give their memory back, and so must verl's rollout engine.

    Raises:
        ConfigError: with key, value and fix.
    """
    judge = settings.rrm.judge
    if judge.backend != "ray" or not judge.cluster.gpus_of_replica or judge.cluster.nodes:
        return
    cluster = judge.cluster
    if not cluster.sleep:
        fix = "the judge would keep its memory while the policy trains on the same GPUs: set 1, or 2 to drop weights"
        raise ConfigError("rrm.judge.cluster.sleep", cluster.sleep, fix)
    if cluster.share == 1.0:
        fix = "verl's workers hold a part of each GPU already: set 0.3 (it is a claim in Ray's books, not memory)"
        raise ConfigError("rrm.judge.cluster.share", cluster.share, fix)
    if not config.actor_rollout_ref.rollout.free_cache_engine:
        fix = "the rollout engine would keep its memory while the judge is awake: set it to true"
        raise ConfigError("actor_rollout_ref.rollout.free_cache_engine", False, fix)


class _NoRewardWorkers:
    """In place of verl's reward loop: rewards are not computed while rollouts run, but when all are there."""

    reward_loop_worker_handles = None


@register_trainer(MODE)
class RRMColocatedTrainer(PPOTrainerSync):  # type: ignore[misc]
    """See the module's text; made by verl.

    Raises:
        ConfigError: with key, value and fix.
    """

    def __init__(self, config: Any) -> None:
        self._settings = read_settings(config)
        check_sharing(config, self._settings)
        with open_dict(config):
            # verl compares the mode with the names of its own trainers, and this is the synchronous one
            config.trainer.v1.trainer_mode = "sync"
            # processes that would wait for samples which never come
            config.reward.num_workers = 0
        self._hub: LocalHub | None = None
        self._rewarder: Rewarder | None = None
        super().__init__(config)

    def _setup(self) -> None:
        """All of verl's parts, and the judge while verl's rollout engine sleeps."""
        super()._setup()
        self.reward_loop_manager = _NoRewardWorkers()
        settings = self._settings
        cluster = settings.rrm.judge.cluster
        if settings.rrm.judge.backend == "ray" and not cluster.nodes and not cluster.placement_groups:
            cluster = replace(cluster, placement_groups=self._bundles_of_the_policy())
            judge = replace(settings.rrm.judge, cluster=cluster)
            settings = replace(settings, rrm=replace(settings.rrm, judge=judge))
        self._hub = LocalHub(settings)
        self._hub.start()
        score = get_custom_reward_fn(self.config) or default_compute_score
        self._rewarder = Rewarder(settings, self._hub, score)

    def _bundles_of_the_policy(self) -> list[str]:
        pool = self.resource_pool_manager.resource_pool_dict["global_pool"]
        return [placement_group_table(group)["name"] for group in pool.get_placement_groups()]

    def _compute_reward_colocate(self, batch: Any, metrics: dict[str, Any] | None = None) -> Any:
        """Judge a whole batch, in training and in validation; writes ``rm_scores`` as verl's own method does."""
        names = ["responses", "raw_prompt", "extra_fields", "data_source", "reward_model", "extra_info"]
        data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=names)
        # nested, or one plain tensor if all are equally long
        responses = data["responses"].unbind()
        columns = {name: list(data[name]) for name in names[1:]}
        finals = final_outputs(batch.keys)
        rows = {at: {name: _plain(column[at]) for name, column in columns.items()} for at in finals.values()}
        texts = {at: self.tokenizer.decode(responses[at], skip_special_tokens=True) for at in finals.values()}
        judged, timing = self._judge(finals, rows, texts, validate=batch.partition_id == "val")
        if metrics is not None and self._hub is not None:
            metrics.update(self._hub.step_metrics(timing))
        by_row = [judged[_session(key)] for key in batch.keys]
        scores = [
            _at_the_end(row["reward_score"], len(response))
            for row, response in zip(by_row, responses, strict=True)
        ]
        extra = np.empty(len(by_row), dtype=object)
        for at, row in enumerate(by_row):
            extra[at] = {
                **(_plain(columns["extra_fields"][at]) or {}),
                "reward_extra_info": row["reward_extra_info"],
            }
        written = {
            "rm_scores": torch.nested.as_nested_tensor(scores, layout=torch.jagged),
            "extra_fields": extra,
        }
        tq.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=tu.get_tensordict(written))
        return batch

    def _judge(
        self, finals: dict[str, int], rows: dict[int, Any], texts: dict[int, str], *, validate: bool
    ) -> tuple[dict[str, dict[str, Any]], Timing]:
        """What verl takes for every session, whatever happens: the run goes on."""
        assert self._hub is not None
        assert self._rewarder is not None
        groups: dict[str, list[str]] = defaultdict(list)
        for session in finals:
            groups[session.rpartition("_")[0]].append(session)
        work, order = [], []
        for group, sessions in groups.items():
            for slot, session in enumerate(sessions):
                row, text = rows[finals[session]], texts[finals[session]]
                query = _query(row)
                if validate:
                    work.append(self._rewarder.validate(row, query, text))
                else:
                    step = int(self.global_steps)
                    sample = Sample(group, slot, uuid4().hex, query, text, len(sessions), step)
                    work.append(self._rewarder.train(sample))
                order.append(session)
        try:
            answers, timing = self._hub.run_awake(work)
        except Exception as error:
            logger.exception("a batch could not be judged; its rewards are unknown")
            answers, timing = (
                [self._rewarder.nothing("the batch failed", error, validating=validate) for _ in order],
                Timing(0, 0, 0),
            )
        return dict(zip(order, answers, strict=True)), timing


def _session(key: str) -> str:
    """``uid_session`` of a key ``uid_session_output``."""
    return key.rpartition("_")[0]


def final_outputs(keys: list[str]) -> dict[str, int]:
    """The position of each session's last output, which is its response; agent loops may have several."""
    last: dict[str, tuple[int, int]] = {}
    for position, key in enumerate(keys):
        output = int(key.rpartition("_")[2])
        last[_session(key)] = max(last.get(_session(key), (-1, -1)), (output, position))
    return {session: position for session, (_, position) in last.items()}


def _at_the_end(score: float, length: int) -> torch.Tensor:
    """A reward for each token, shape (length,): all of it on the last one."""
    tokens = torch.zeros(length, dtype=torch.float32)
    tokens[-1:] = score
    return tokens


def _query(row: dict[str, Any]) -> str:
    try:
        return read_query(row) or ""
    except Exception:
        logger.exception("a prompt cannot be read")
        return ""


def _plain(value: Any) -> Any:
    """What tensordict wrapped, without the wrapping."""
    return getattr(value, "data", value) if type(value).__module__.startswith("tensordict") else value
