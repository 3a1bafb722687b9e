"""What an RRM in training does besides being right, at every step in verl's own log.

    trainer:
      v1:
        sampler:
          custom_sampler: {path: pkg://rrm_reward.integrations.verl.verdict_log, name: VerdictLog}

verl 0.9 keeps what a reward function says beside its score, but shows it for validation only. The replay buffer sees
every batch before it is trained on and may add metrics to it, so this one does, and changes nothing else:

- ``rrm/accuracy``: share of the judgments that are right;
- ``rrm/position_bias``: share of the verdicts for Assistant 1, minus the share of those pairs whose first response is
  better; 0 is fair, +1 is always the first against all evidence;
- ``rrm/no_verdict``: share of the judgments that were cut or could not be read;
- ``rrm/length`` and ``rrm/length_without_verdict``: mean tokens of a judgment, and of those without a verdict.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import transfer_queue
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer


def verdict_metrics(judgments: Sequence[Mapping[str, float]], lengths: Sequence[int]) -> dict[str, float]:
    """The metrics of one batch.

    Args:
        judgments: what `verdict_reward.compute_score` returned for each; others are not counted.
        lengths: tokens of each.

    Returns:
        The keys listed above. A mean over nothing is left out.
    """
    known = [
        (judgment, length) for judgment, length in zip(judgments, lengths, strict=True) if "first" in judgment
    ]
    said = [judgment for judgment, _ in known if not judgment["no_verdict"]]
    silent = [length for judgment, length in known if judgment["no_verdict"]]
    series = {
        "rrm/accuracy": [judgment["acc"] for judgment, _ in known],
        "rrm/no_verdict": [judgment["no_verdict"] for judgment, _ in known],
        "rrm/position_bias": [judgment["first"] - judgment["first_is_better"] for judgment in said],
        "rrm/length": [length for _, length in known],
        "rrm/length_without_verdict": silent,
    }
    return {key: statistics.fmean(values) for key, values in series.items() if values}


class VerdictLog(ReplayBuffer):
    """verl's synchronous replay buffer, which also reports on the verdicts of the batch it hands out."""

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> tuple[Any, dict[str, Any]]:
        """See `ReplayBuffer.sample`."""
        batch, metrics = super().sample(global_steps, partition_id, batch_size)
        if partition_id == "train":
            fields = transfer_queue.kv_batch_get(
                keys=batch.keys, partition_id=partition_id, select_fields=["extra_fields"]
            )
            extras = [extra or {} for extra in fields.pop("extra_fields").tolist()]
            judgments = [extra.get("reward_extra_info") or {} for extra in extras]
            metrics.update(verdict_metrics(judgments, [tag.get("response_len", 0) for tag in batch.tags]))
        return batch, metrics
