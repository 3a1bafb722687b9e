"""A sample's reward as verl takes it, in training and in validation.

verl wants ``{"reward_score": float, "reward_extra_info": {name: number}}``. It takes the names from the first row of a
batch and indexes all others with them, so all rows of training have the same names, and all rows of validation,
whatever happened to them.

**The judge's health** (`rrm_reward.health.HEADLINES`) travels with every row as ``rrm_health_...``, 0.0 where unknown;
with a row of validation as this process last heard of it in training. Not if verl validates with several samples a row
(``val_kwargs.n``): it draws a thousand bootstraps of every number of every prompt then, which takes minutes.

**Unknown rewards.** A sample without a reward gets the mean of its group's known ones, so that its advantage is 0;
if there is none, 0.0 (``rrm_known`` is 0 then).

**Validation** never waits for siblings: verl validates with one rollout a row by default, and a group of one holds no
comparison. A row is worth what ``rrm_verl.validation`` says (`VerlConfig`). Reference answers are read here and nowhere
else: training never sees them.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from rrm_reward.assembler import UNKNOWN, SampleReward
from rrm_reward.health import HEADLINES, plain_name
from rrm_reward.integrations.verl._client import HubClient
from rrm_reward.integrations.verl._sample import Sample, reference_of
from rrm_reward.integrations.verl._settings import Settings

logger = logging.getLogger(__name__)

NO_ACCURACY = -1.0
"""``acc`` of a training row: nobody knows its answer."""


class Rewarder:
    """Turns samples into what verl takes. Its methods never raise, but for cancellation.

    Args:
        settings: of the job.
        hub: where siblings meet.
        compute_score: verl's own reward function, for the policy ``rule``.
    """

    def __init__(self, settings: Settings, hub: HubClient, compute_score: Callable[..., Any] | None) -> None:
        self._settings = settings
        self._hub = hub
        self._compute_score = compute_score
        self._health: Mapping[str, float] = {}
        self.counts: Counter[str] = Counter()

    async def train(self, sample: Sample) -> dict[str, Any]:
        """The reward of a training sample, once its group is judged."""
        reward = await self._hub.submit(sample)
        self._health = reward.health or self._health
        return self._row(reward)

    async def validate(self, row: Mapping[str, Any], query: str, text: str) -> dict[str, Any]:
        """The score of a validation sample, at once.

        Args:
            row: non-tensor fields of the row.
            query: its prompt.
            text: the response.
        """
        policy = self._settings.verl.validation
        if policy == "rule":
            score, accuracy = await self._by_rule(row, text)
            return self._validation_row(_scored(score), accuracy)
        if policy == "reference":
            return self._validation_row(_scored(await self._against_reference(row, query, text)))
        return self._validation_row(_scored(0.0))

    def nothing(self, reason: str, error: Exception | None = None, *, validating: bool) -> dict[str, Any]:
        """The neutral reward, for a sample that cannot be read."""
        self._complain("unreadable", f"a sample gets the neutral reward: {reason}", error)
        return self._validation_row(UNKNOWN) if validating else self._row(UNKNOWN)

    async def _against_reference(self, row: Mapping[str, Any], query: str, text: str) -> float:
        reference = reference_of(row)
        if reference is None:
            self._complain(
                "no_reference",
                "validation rows without a reference answer (reward_model.ground_truth) score 0.0; "
                "set rrm_verl.validation=zero to say so, or rule to score them by a function",
            )
            return 0.0
        return await self._hub.compare(uuid4().hex, query, text, reference)

    async def _by_rule(self, row: Mapping[str, Any], text: str) -> tuple[float, float]:
        """Score and accuracy; they differ for rules that say both, as verl's of DAPO's mathematics (score 1 or -1)."""
        try:
            if self._compute_score is None:
                raise ValueError("there is no reward function: set reward.custom_reward_function")
            arguments = {
                "data_source": row.get("data_source"),
                "solution_str": text,
                "ground_truth": reference_of(row) or "",
                "extra_info": row.get("extra_info") or {},
            }
            if inspect.iscoroutinefunction(self._compute_score):
                score = await self._compute_score(**arguments)
            else:
                score = await asyncio.to_thread(self._compute_score, **arguments)
            if isinstance(score, Mapping):
                return float(score["score"]), float(score.get("acc", score["score"]))
            return float(score), float(score)
        except Exception as error:
            self._complain("rule_failed", "the rule of rrm_verl.validation failed; the row scores 0.0", error)
            return 0.0, 0.0

    def _row(self, reward: SampleReward) -> dict[str, Any]:
        """What verl takes of training."""
        extra = {
            "rrm_known": float(reward.known),
            "rrm_rating": _finite(reward.rating),
            "rrm_stderr": _finite(reward.stderr),
            "rrm_group_size": float(reward.group_size),
            "rrm_comparisons": float(reward.comparisons),
            "rrm_missing": float(reward.missing),
            **_headlines(reward.health),
        }
        return self._counted(reward, extra, NO_ACCURACY)

    def _validation_row(self, reward: SampleReward, accuracy: float = NO_ACCURACY) -> dict[str, Any]:
        """What verl takes of validation."""
        extra = {"rrm_known": float(reward.known), "rrm_rating": _finite(reward.rating)}
        if self._settings.validation_samples == 1:
            extra |= _headlines(self._health)
        return self._counted(reward, extra, accuracy)

    def _counted(self, reward: SampleReward, extra: dict[str, float], accuracy: float) -> dict[str, Any]:
        """Plain finite numbers under the same names, whatever the row."""
        self.counts["rows"] += 1
        self.counts["unknown"] += not reward.known
        if self._settings.verl.validation == "rule":
            extra["acc"] = accuracy
        return {"reward_score": float(reward.filled), "reward_extra_info": extra}

    def _complain(self, what: str, message: str, error: Exception | None = None) -> None:
        """Count, and log the first of each kind."""
        self.counts[what] += 1
        if self.counts[what] == 1:
            logger.error("%s", message, exc_info=error)


def _scored(score: float) -> SampleReward:
    """A validation score in the form of a reward; a comparison without a verdict is neither won nor lost."""
    return SampleReward(score, rating=score, group_size=1, group_mean=0.5)


def _headlines(health: Mapping[str, float]) -> dict[str, float]:
    return {f"rrm_{plain_name(name)}": _finite(health.get(name, 0.0)) for name in HEADLINES}


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0
