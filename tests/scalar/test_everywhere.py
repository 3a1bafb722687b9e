"""A judge of another kind is the reward everywhere, by the same numbers: a file, HTTP, the hub of verl, TRL."""

import asyncio
import json
import math
from types import SimpleNamespace

import pytest

from rrm_reward import cli
from rrm_reward.build import build_arena
from rrm_reward.config import load
from rrm_reward.integrations.trl import RRMReward
from rrm_reward.integrations.verl._hub import Hub
from rrm_reward.integrations.verl._sample import Sample
from rrm_reward.service import Service
from tests.service.serving import client, sample

RESPONSES = ["a", "ccc", "bb", "dddd"]
KINDS = {"scores": "length", "compares": "longer"}


def overrides(kind):
    return ["judge.kind=oracle", f"judge.function=tests.scalar.oracles:{KINDS[kind]}"]


def in_a_file(kind, tmp_path, capsys):
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps({"id": 1, "query": "q", "responses": RESPONSES}) + "\n")
    assert cli.main(["rank", str(path), *overrides(kind)]) == 0
    return json.loads(capsys.readouterr().out)["rewards"]


async def over_http(kind):
    config = load(overrides=overrides(kind))
    async with build_arena(config) as arena, client(Service(config, arena)) as http:
        asked = (http.post("/v1/samples", json=sample(k, text, size=4)) for k, text in enumerate(RESPONSES))
        return [answer.json()["reward"] for answer in await asyncio.gather(*asked)]


async def in_the_hub_of_verl(kind):
    hub = Hub(load(overrides=overrides(kind)))
    assert await hub.ready() is None
    samples = [Sample("g", k, f"token {k}", "q", text, len(RESPONSES)) for k, text in enumerate(RESPONSES)]
    shares = await asyncio.gather(*(hub.submit(one, 60.0) for one in samples))
    compared = [
        await hub.compare(f"against {reference}", "q", "ccc", f"</think>{reference}", 60.0)
        for reference in ("a", "ccc")
    ]
    await hub.aclose()
    assert compared[0] is not None
    assert compared[0] > 0.5 == compared[1]
    return [share.reward for share in shares]


def in_trl(kind):
    reward = RRMReward(load(overrides=overrides(kind)), num_generations=len(RESPONSES))
    return reward(["q"] * len(RESPONSES), RESPONSES, prompt_id=["p"] * len(RESPONSES))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_rewards_everywhere(kind, tmp_path, capsys):
    expected = in_a_file(kind, tmp_path, capsys)
    assert expected.index(max(expected)) == 3
    assert asyncio.run(over_http(kind)) == expected
    assert asyncio.run(in_the_hub_of_verl(kind)) == expected
    assert in_trl(kind) == expected


async def test_a_validation_score_that_cannot_be_had_is_unknown_and_no_tie():
    hub = Hub(load(overrides=["judge.kind=oracle", "judge.function=tests.scalar.oracles:knows_little"]))
    unknown = await hub.compare("a token", "q", "ccc", "</think>crash", 60.0)
    await hub.aclose()
    assert unknown is not None
    assert math.isnan(unknown)


def test_the_check_before_a_run_takes_a_judge_that_scores():
    from rrm_reward.integrations.verl.check import _ask_once

    settings = SimpleNamespace(rrm=load(overrides=overrides("scores")))
    assert "4 gets" in asyncio.run(_ask_once(settings))
