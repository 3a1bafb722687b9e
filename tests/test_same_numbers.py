"""One recorded set of groups and verdicts gives bit by bit the same rewards through every hook.

``recorded/same_numbers.json`` holds groups, and for each ordered pair of responses the verdict, 0 for none: a judge
without any order in its mind, so that a wrong pair, order or seed anywhere shows. `rank` is what all are held against.
OpenRLHF's executor is held against it in its own environment, by ``openrlhf/contract/contract_same_numbers.py``.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from rrm_reward import cli
from rrm_reward.build import build_arena
from rrm_reward.config import load
from tests.support.loopback_judge import LoopbackJudge
from tests.support.running_judge import running_judge

Rewards = list[list[float | None]]

RECORDED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "recorded/same_numbers.json").read_text()
)
WHOLE = [number for number, group in enumerate(RECORDED) if None not in group["responses"]]
"""Groups without a failed member, for hooks that cannot be told of one."""

SETTINGS: dict[str, dict[str, Any]] = {
    "round robin, win rate": {"tournament": {"name": "round_robin"}, "rating": {"name": "win_rate"}},
    "round robin, Elo": {"tournament": {"name": "round_robin"}, "rating": {"name": "elo"}},
    "ring, Bradley-Terry": {"tournament": {"name": "circular"}, "rating": {"name": "bradley_terry"}},
    "knockout, random orders": {"tournament": {"name": "knockout"}, "judge": {"order": "random"}},
}


@dataclass
class RecordedJudge(LoopbackJudge):
    """Gives the recorded verdicts."""

    table: dict[tuple[str, str], int] = field(default_factory=dict)

    def decide(self, prompt: str) -> int:
        first, second = prompt.split("### Assistant 1\n\n")[1].split("### Assistant 2\n\n")
        return self.table[first.strip(), second.split("\n## Analysis")[0].strip()]

    def _render(self, prompt: str, verdicts: list[int], fault: str, **further: Any) -> web.Response:
        return super()._render(prompt, verdicts, fault if all(verdicts) else "no_verdict", **further)


@contextmanager
def recorded_judge() -> Iterator[RecordedJudge]:
    """Serves the recorded verdicts."""
    table = {
        (a, b): group["verdicts"][i][j]
        for group in RECORDED
        for i, a in enumerate(group["responses"])
        for j, b in enumerate(group["responses"])
        if a is not None and b is not None and a != b
    }
    with running_judge(RecordedJudge, table=table) as judge:
        yield judge


def chosen(name: str, judge: RecordedJudge) -> dict[str, Any]:
    """The tree ``rrm`` of these `SETTINGS`. Nothing is learnt over groups, whose order no trainer fixes."""
    tree = SETTINGS[name]
    asked = {"urls": [judge.url], "model": "RRM-7B", "reasks": 0, **tree.get("judge", {})}
    return {"seed": 3, "position": {"learn": False}, **tree, "judge": asked}


def rank(settings: dict[str, Any], folder: Path) -> Rewards:
    """What ``rrm-reward rank`` writes."""
    groups, output = folder / "groups.jsonl", folder / "rewards.jsonl"
    config = folder / "rrm.yaml"
    config.write_text(json.dumps(settings))  # JSON is YAML
    groups.write_text(
        "".join(
            json.dumps({"id": g, "query": group["query"], "responses": group["responses"]}) + "\n"
            for g, group in enumerate(RECORDED)
        )
    )
    assert cli.main(["rank", str(groups), "--config", str(config), "--output", str(output)]) == 0
    return [json.loads(line)["rewards"] for line in output.read_text().splitlines()]


@pytest.fixture(scope="module")
def judge() -> Iterator[RecordedJudge]:
    with recorded_judge() as judge:
        yield judge


@pytest.fixture(params=SETTINGS)
def settings(request: pytest.FixtureRequest, judge: RecordedJudge) -> dict[str, Any]:
    return chosen(request.param, judge)


@pytest.fixture
def expected(settings: dict[str, Any], tmp_path: Path) -> Rewards:
    return rank(settings, tmp_path)


def bits(rewards: Rewards) -> list[list[str | None]]:
    """Rewards such that equality means equal to the last bit."""
    return [[None if one is None else one.hex() for one in group] for group in rewards]


def messages(group: dict[str, Any]) -> list[dict[str, str]]:
    return [{"role": "user", "content": group["query"]}]


def known(reward: float) -> float | None:
    return None if math.isnan(reward) else reward


def test_the_recorded_rewards_say_something(expected: Rewards) -> None:
    rewards = [one for group in expected for one in group if one is not None]
    assert len(set(rewards)) > 4
    assert expected[2][0] is None


@pytest.mark.parametrize("conversational", [True, False])
def test_trl_gives_the_numbers_of_rank(
    settings: dict[str, Any], expected: Rewards, conversational: bool
) -> None:
    from rrm_reward.integrations.trl import RRMReward

    def said(text: str | None) -> Any:
        return text if text is None or not conversational else [{"role": "assistant", "content": text}]

    with RRMReward(settings) as reward:
        rows = [
            (messages(group) if conversational else group["query"], said(text), number)
            for number, group in enumerate(RECORDED)
            for text in group["responses"]
        ]
        prompts, completions, ids = map(list, zip(*rows, strict=True))
        given = iter(reward(prompts=prompts, completions=completions, prompt_id=ids))
    assert bits([[next(given) for _ in group["responses"]] for group in RECORDED]) == bits(expected)


async def through_hub(settings: dict[str, Any]) -> Rewards:
    from rrm_reward.integrations.verl._hub import Hub
    from rrm_reward.integrations.verl._sample import Sample

    hub = Hub(load(tree=settings))

    async def member(number: int, slot: int, text: str | None) -> float | None:
        query, size = RECORDED[number]["query"], len(RECORDED[number]["responses"])
        if text is None:
            await hub.fail(str(number), slot, query, size)
            return None
        answer = await hub.submit(
            Sample(str(number), slot, f"{number}-{slot}", query, text, size), patience=60.0
        )
        assert answer is not None
        return known(answer.reward)

    try:
        # the last member of every group first: order of arrival must change nothing
        return [
            list(reversed(await asyncio.gather(*calls)))
            for calls in [
                [member(n, slot, text) for slot, text in reversed(list(enumerate(group["responses"])))]
                for n, group in enumerate(RECORDED)
            ]
        ]
    finally:
        await hub.aclose()


def test_verl_s_hub_gives_the_numbers_of_rank(settings: dict[str, Any], expected: Rewards) -> None:
    assert bits(asyncio.run(through_hub(settings))) == bits(expected)


def test_verl_s_reward_manager_gives_the_numbers_of_rank(
    settings: dict[str, Any], expected: Rewards, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from transformers import PreTrainedTokenizerFast

    from rrm_reward.integrations.verl import reward_manager
    from rrm_reward.integrations.verl._hub import Hub
    from tests.verl.assets import make_assets
    from tests.verl.test_reward_manager import row
    from tests.verl.test_settings import verl_config

    tokenizer = PreTrainedTokenizerFast.from_pretrained(make_assets(tmp_path).tokenizer)
    hubs: list[Hub] = []

    class Client:
        """The hub without Ray between."""

        def __init__(self, given: Any) -> None:
            hubs.append(Hub(given.rrm))

        async def submit(self, sample: Any) -> Any:
            return await hubs[0].submit(sample, 60.0)

    monkeypatch.setattr(reward_manager, "HubClient", Client)
    config = partial(verl_config, **{f"rrm__{name}": value for name, value in settings.items()})

    async def rewards(number: int) -> list[float | None]:
        group = RECORDED[number]
        size = len(group["responses"])
        manager = reward_manager.RRMRewardManager(config(actor_rollout_ref__rollout__n=size), tokenizer)
        rows = [
            row(tokenizer, text, uid=str(number), session_id=slot, global_steps=1, raw_prompt=messages(group))
            for slot, text in enumerate(group["responses"])
        ]
        answers = await asyncio.gather(*map(manager.run_single, rows))
        await hubs[0].aclose()
        hubs.clear()
        return [
            answer["reward_score"] if answer["reward_extra_info"]["rrm_known"] else None for answer in answers
        ]

    for number in WHOLE:
        assert bits([asyncio.run(rewards(number))]) == bits([expected[number]])


async def over_http(settings: dict[str, Any], whole: bool) -> dict[int, list[float | None]]:
    from rrm_reward.service import Service
    from tests.service.serving import client

    config = load(tree=settings)
    async with build_arena(config) as arena, client(Service(config, arena)) as http:

        async def group(number: int) -> list[float | None]:
            query, responses = RECORDED[number]["query"], RECORDED[number]["responses"]
            if whole:
                body = {"id": number, "query": query, "responses": responses}
                answer = await http.post("/v1/rewards", json=body, timeout=300)
                assert answer.status_code == 200, answer.text
                given: list[float | None] = answer.json()["rewards"]
                return given
            bodies = [
                {"group": number, "slot": slot, "size": len(responses), "query": query, "response": text}
                for slot, text in enumerate(responses)
            ]
            answers = await asyncio.gather(
                *(
                    http.post("/v1/samples", json={**body, "group": str(number)}, timeout=300)
                    for body in bodies
                )
            )
            return [answer.json()["reward"] for answer in answers]

        return dict(enumerate(await asyncio.gather(*map(group, range(len(RECORDED))))))


@pytest.mark.parametrize("whole", [True, False], ids=["groups", "samples"])
def test_http_gives_the_numbers_of_rank(settings: dict[str, Any], expected: Rewards, whole: bool) -> None:
    for number, rewards in asyncio.run(over_http(settings, whole)).items():
        assert bits([rewards]) == bits([expected[number]])
