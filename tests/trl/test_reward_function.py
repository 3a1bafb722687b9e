"""`RRMReward` as TRL calls it: plain lists in, plain lists out, whatever the judge does."""

from __future__ import annotations

import asyncio
import inspect
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rrm_reward.errors import ConfigError
from rrm_reward.integrations.trl import RRMReward
from tests.support.loopback_judge import LoopbackJudge
from tests.support.running_judge import running_judge

MakeReward = Callable[..., RRMReward]


@pytest.fixture
def judge() -> Iterator[LoopbackJudge]:
    with running_judge() as judge:
        yield judge


@pytest.fixture
def make_reward(judge: LoopbackJudge) -> Iterator[MakeReward]:
    """Reward functions that ask `judge`, closed at the end."""
    made: list[RRMReward] = []

    def make(*settings: str, **options: Any) -> RRMReward:
        reward = RRMReward(
            {"judge": {"urls": [judge.url], "model": "RRM-7B", "timeout": 120.0, "retries": 0, "reasks": 0}},
            settings,
            **options,
        )
        made.append(reward)
        return reward

    yield make
    for reward in made:
        reward.close()


def rollouts(*qualities: float) -> list[str]:
    return [f"an answer of quality={quality}" for quality in qualities]


def test_a_better_rollout_of_the_same_prompt_gets_a_larger_reward(make_reward: MakeReward) -> None:
    reward = make_reward(num_generations=3)
    rewards = reward(prompts=["q"] * 3 + ["r"] * 3, completions=rollouts(0, 1, 2, 5, 4, 3))
    assert rewards == [-1.0, 0.0, 1.0, 1.0, 0.0, -1.0]
    assert all(type(one) is float for one in rewards)


def test_neighbouring_groups_may_have_the_same_prompt(make_reward: MakeReward) -> None:
    completions = rollouts(0, 1, 8, 9)
    assert make_reward(num_generations=2)(["q"] * 4, completions) == [-1.0, 1.0, -1.0, 1.0]
    with_ids = make_reward()
    assert with_ids(["q"] * 4, completions, prompt_id=[7, 7, 8, 8]) == [-1.0, 1.0, -1.0, 1.0]


def test_messages_are_judged_like_text(make_reward: MakeReward, judge: LoopbackJudge) -> None:
    judge.keep = True
    reward = make_reward(num_generations=2)
    plain = reward(["a question"] * 2, rollouts(0, 1))
    messages = reward(
        [[{"role": "user", "content": "a question"}]] * 2,
        [[{"role": "assistant", "content": text}] for text in rollouts(0, 1)],
    )
    assert plain == messages
    assert judge.bodies[0]["messages"] == judge.bodies[1]["messages"]


def test_the_judge_sees_what_the_last_assistant_message_says_and_not_its_reasoning(
    make_reward: MakeReward, judge: LoopbackJudge
) -> None:
    judge.keep = True
    turns = [
        [
            {"role": "assistant", "content": "let me search"},
            {"role": "tool", "content": "found"},
            {"role": "assistant", "reasoning_content": "secret", "content": [{"type": "text", "text": text}]},
        ]
        for text in rollouts(0, 1)
    ]
    assert make_reward(num_generations=2)(["q"] * 2, turns) == [-1.0, 1.0]
    prompt = judge.bodies[0]["messages"][-1]["content"]
    assert "quality=0" in prompt
    assert not any(word in prompt for word in ("secret", "search", "found"))


def test_a_rollout_without_text_is_unknown_and_costs_its_siblings_nothing(make_reward: MakeReward) -> None:
    reward = make_reward(num_generations=4)
    for nothing in (None, [], [{"role": "assistant", "content": None}], 3):
        assert reward(["q"] * 4, [*rollouts(0, 1), nothing, *rollouts(2)]) == [-1.0, 0.0, None, 1.0]


@pytest.mark.parametrize("fault", ["http_500", "no_verdict", "truncated", "disconnect"])
def test_a_judge_that_fails_gives_none_and_never_an_exception(
    make_reward: MakeReward, judge: LoopbackJudge, fault: str
) -> None:
    reward = make_reward(num_generations=2)
    setattr(judge.faults, fault, 1.0)
    assert reward(["q"] * 4, rollouts(0, 1, 2, 3)) == [None] * 4
    assert reward.counts["unknown"] == 4
    setattr(judge.faults, fault, 0.0)
    assert reward(["q"] * 4, rollouts(0, 1, 2, 3)) == [-1.0, 1.0, -1.0, 1.0]


def test_prompts_that_cannot_be_read_cost_their_own_group_only(make_reward: MakeReward) -> None:
    reward = make_reward(num_generations=2)
    assert reward([[], [], "q", "q"], rollouts(0, 1, 2, 3)) == [None, None, -1.0, 1.0]
    assert reward.counts["unjudged"] == 1


def test_identical_rollouts_get_identical_rewards_without_a_call(
    make_reward: MakeReward, judge: LoopbackJudge
) -> None:
    assert make_reward(num_generations=3)(["q"] * 3, ["same"] * 3) == [0.0, 0.0, 0.0]
    assert judge.counts["requests"] == 0


def test_every_call_logs_the_same_finite_metrics_under_its_name(make_reward: MakeReward) -> None:
    logged: dict[str, float] = {}
    reward = make_reward(num_generations=4, name="quality")
    reward(["q"] * 4, rollouts(0, 1, 2, 3), log_metric=logged.__setitem__)
    assert logged["quality/judge_calls"] == 6
    assert logged["quality/missing_share"] == logged["quality/unknown_share"] == 0
    assert logged["quality/reward_spread"] > 0.5
    assert 0 <= logged["quality/first_share"] <= 1
    assert logged["quality/health/no_verdict"] == 0
    assert "quality/health/flip_rate" not in logged, "unknown where one order is asked"
    assert all(type(value) in (int, float) for value in logged.values())


class Trainer:
    """What of a trainer reaches a reward function: the object that ``log_metric`` is bound to."""

    num_generations = num_generations_eval = 2

    def __init__(self, scale_rewards: object) -> None:
        self.scale_rewards = scale_rewards

    def log_metric(self, name: str, value: float) -> None:
        pass


@pytest.mark.parametrize("scaling", [True, "group", "batch"])
def test_a_trainer_that_would_divide_decided_rewards_again_is_told_in_the_first_call(
    make_reward: MakeReward, scaling: object
) -> None:
    with pytest.raises(ConfigError, match="scale_rewards=False"):
        make_reward("reward.scale=decided")(["q"] * 2, rollouts(0, 1), log_metric=Trainer(scaling).log_metric)
    assert make_reward()(["q"] * 2, rollouts(0, 1), log_metric=Trainer(scaling).log_metric) == [-1.0, 1.0]


@pytest.mark.parametrize("scaling", [False, "none"])
def test_a_trainer_that_divides_by_nothing_takes_decided_rewards(
    make_reward: MakeReward, scaling: object
) -> None:
    reward = make_reward("reward.scale=decided", "rating.name=bradley_terry")
    low, high = reward(["q"] * 2, rollouts(0, 1), log_metric=Trainer(scaling).log_metric)
    assert low is not None
    assert low == -high
    assert 0 < high < 1, "one comparison does not settle a group"


def test_a_closed_or_broken_reward_function_gives_none(make_reward: MakeReward) -> None:
    reward = make_reward(num_generations=2)
    reward.close()
    reward.close()
    assert reward(["q"] * 2, rollouts(0, 1)) == [None, None]
    assert reward.counts["errors"] == 1


def test_nothing_is_left_running_after_close(make_reward: MakeReward) -> None:
    before = set(threading.enumerate())
    reward = make_reward(num_generations=2)
    reward(["q"] * 2, rollouts(0, 1))
    (thread,) = [t for t in threading.enumerate() if t.name == "rrm-reward" and t not in before]
    reward.close()
    assert not thread.is_alive()


async def test_trl_can_run_it_beside_other_async_functions(make_reward: MakeReward) -> None:
    first, second = make_reward(num_generations=2, name="one"), make_reward(num_generations=2, name="two")
    assert inspect.iscoroutinefunction(first.concurrent)
    assert [reward.concurrent.__name__ for reward in (first, second)] == ["one", "two"]
    answers = await asyncio.gather(
        first.concurrent(["q"] * 2, rollouts(0, 1)), second.concurrent(["q"] * 2, rollouts(1, 0))
    )
    assert answers == [[-1.0, 1.0], [1.0, -1.0]]


def test_it_serves_one_event_loop_after_another(make_reward: MakeReward) -> None:
    reward = make_reward(num_generations=2)
    for _ in range(2):
        assert asyncio.run(reward.concurrent(["q"] * 2, rollouts(0, 1))) == [-1.0, 1.0]
    assert reward(["q"] * 2, rollouts(0, 1)) == [-1.0, 1.0]


def test_groups_that_cannot_be_told_apart_fail_the_first_call_and_never_a_later_one(
    make_reward: MakeReward,
) -> None:
    with pytest.raises(ConfigError, match="num_generations"):
        make_reward()(["q"] * 4, rollouts(0, 1, 2, 3))
    reward = make_reward(num_generations=2)
    with pytest.raises(ConfigError, match="3 completions over all processes"):
        reward(["q"] * 3, rollouts(0, 1, 2))
    reward(["q"] * 2, rollouts(0, 1))
    assert reward(["q"] * 3, rollouts(0, 1, 2)) == [-1.0, 1.0, None]
    assert reward.counts["misgrouped"] == 1


@pytest.mark.parametrize(
    ("settings", "options", "key"),
    [
        (["judge.model=nobody"], {}, "judge.model"),
        (["tournament.name=melee"], {}, "tournament.name"),
        (["judge.vote=3"], {}, "judge.vote"),
        ([], {"num_generations": 1}, "num_generations"),
        ([], {"num_generations_eval": 0}, "num_generations_eval"),
    ],
)
def test_what_cannot_work_is_refused_before_there_is_a_trainer(
    make_reward: MakeReward, settings: list[str], options: dict[str, Any], key: str
) -> None:
    before = set(threading.enumerate())
    with pytest.raises(ConfigError) as refusal:
        make_reward(*settings, **options)
    assert refusal.value.key == key
    assert not [t for t in threading.enumerate() if t.name == "rrm-reward" and t not in before]


def test_it_crosses_into_another_process_as_its_configuration(make_reward: MakeReward) -> None:
    with pickle.loads(pickle.dumps(make_reward(num_generations=2, name="x"))) as copy:
        assert copy.__name__ == "x"
        assert copy(["q"] * 2, rollouts(0, 1)) == [-1.0, 1.0]


def test_every_process_of_a_run_writes_a_log_of_its_own(
    make_reward: MakeReward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        reward = make_reward(f"log.path={tmp_path}/run.sqlite", num_generations=2)
        assert reward(["q"] * 2, rollouts(0, 1)) == [-1.0, 1.0]
        reward.close()
    assert {"run.sqlite", "run.sqlite.1"} <= {file.name for file in tmp_path.iterdir()}
