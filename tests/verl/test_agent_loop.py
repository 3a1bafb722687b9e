"""`RRMAgentLoopWorker` around verl's own `_run_prompt`: what it knows of a group, and whom it tells.

What a rollout is, and where verl keeps it, is replaced; a hub that only listens stands for the actor.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from rrm_reward.assembler import SampleReward
from rrm_reward.integrations.verl._rewarder import Rewarder
from rrm_reward.integrations.verl._sample import Sample
from tests.verl.test_settings import verl_config


@dataclass
class ListeningHub:
    """Remembers what it is told; every sample is worth its slot."""

    samples: list[Sample] = field(default_factory=list)
    failed: list[tuple[int, int]] = field(default_factory=list)
    compared: list[str] = field(default_factory=list)

    async def submit(self, sample: Sample) -> SampleReward:
        self.samples.append(sample)
        assert sample.slot is not None
        return SampleReward(float(sample.slot), group_size=sample.size)

    async def fail(self, group: str, slot: int, query: str, size: int) -> None:
        self.failed.append((slot, size))

    async def compare(self, token: str, query: str, response: str, reference: str) -> float:
        self.compared.append(reference)
        return 1.0


@dataclass
class Run:
    """A worker with its surroundings.

    Attributes:
        hub: what was told to it.
        outputs: rollouts by session.
        statuses: of the prompt, as verl publishes them.
        own_reward: sessions whose agent loop brings a reward of its own.
        dying: sessions whose rollout raises.
    """

    worker: Any
    hub: ListeningHub = field(default_factory=ListeningHub)
    outputs: dict[int, Any] = field(default_factory=dict)
    statuses: list[str] = field(default_factory=list)
    own_reward: set[int] = field(default_factory=set)
    dying: set[int] = field(default_factory=set)

    async def prompt(self, *, validate: bool = False, **columns: Any) -> None:
        """Run all rollouts of one prompt, as verl does; never waits for long."""
        row = {
            "uid": "u",
            "agent_name": "any",
            "raw_prompt": [{"role": "user", "content": "What is 1 plus 3?"}],
            "reward_model": {"ground_truth": "4"},
            "global_steps": 1,
            **columns,
        }
        await asyncio.wait_for(self.worker._run_prompt(row, {}, {"validate": validate}), 120)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    from verl.trainer.ppo.v1 import agent_loop_tq

    from rrm_reward.integrations.verl import agent_loop
    from rrm_reward.integrations.verl._settings import read_settings

    config = verl_config(actor_rollout_ref__rollout__val_kwargs={"n": 1})
    settings = read_settings(config)
    worker = agent_loop.RRMAgentLoopWorker.__new__(agent_loop.RRMAgentLoopWorker)
    run = Run(worker)
    worker.config = OmegaConf.create(config)
    worker.tokenizer = SimpleNamespace(decode=lambda tokens, skip_special_tokens: f"answer {tokens}")
    worker._rollouts, worker._prompts, worker._hub = settings.rollouts, {}, run.hub
    worker._rewarder = Rewarder(settings, run.hub, None)  # type: ignore[arg-type]

    async def rollout(self: Any, sampling_params: Any, trajectory: Any, **kwargs: Any) -> None:
        session = kwargs["session_id"]
        if session in run.dying:
            raise RuntimeError("this rollout was told to fail")
        own = 0.5 if session in run.own_reward else None
        output = SimpleNamespace(
            response_ids=[session], reward_score=own, extra_fields={}, metrics=SimpleNamespace()
        )
        await self._compute_score([output], {**kwargs, "raw_prompt": kwargs["raw_prompt"]})
        run.outputs[session] = output

    async def publish(*, tag: dict[str, str], **_: Any) -> None:
        run.statuses.append(tag["status"])

    monkeypatch.setattr(agent_loop._Worker, "_run_agent_loop", rollout)
    monkeypatch.setattr(agent_loop_tq.tq, "async_kv_put", publish)
    return run


async def test_a_group_has_the_size_that_verl_rolls_out(run: Run) -> None:
    await run.prompt()
    assert sorted((sample.slot, sample.size) for sample in run.hub.samples) == [(i, 8) for i in range(8)]
    assert [run.outputs[i].reward_score for i in range(8)] == [float(i) for i in range(8)]
    assert run.hub.failed == []
    assert run.statuses == ["running", "finished"]


async def test_a_column_may_set_the_size_of_a_group(run: Run) -> None:
    await run.prompt(__rollout_n__=3)
    assert sorted((sample.slot, sample.size) for sample in run.hub.samples) == [(i, 3) for i in range(3)]


async def test_a_column_that_holds_no_size_fails_the_prompt_as_in_verl_and_leaves_nobody_waiting(
    run: Run,
) -> None:
    await run.prompt(__rollout_n__=None)
    assert run.statuses == ["running", "failure"]


async def test_validation_meets_no_siblings_whatever_the_row_says_of_its_split(run: Run) -> None:
    await run.prompt(validate=True, extra_info={"split": "train"})
    assert run.hub.compared == ["4"]
    assert run.hub.samples == []
    assert run.outputs[0].reward_score == 1.0
    await run.prompt(validate=False, extra_info={"split": "test"})
    assert len(run.hub.samples) == 8


async def test_siblings_hear_of_a_rollout_that_failed_and_of_one_that_was_rewarded_elsewhere(
    run: Run,
) -> None:
    run.dying, run.own_reward = {1}, {2}
    await run.prompt()
    assert sorted(run.hub.failed) == [(1, 8), (2, 8)]
    assert run.outputs[2].reward_score == 0.5
    assert run.statuses == ["running", "failure"]


async def test_validation_rollouts_that_fail_are_nobodys_siblings(run: Run) -> None:
    run.dying = {0}
    await run.prompt(validate=True)
    assert run.hub.failed == []
