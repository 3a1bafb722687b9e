"""Position bias over whole runs: learnt by the arena, written down, gone on with."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np

from rrm_reward.arena import Arena
from rrm_reward.cli import main
from rrm_reward.rating import PositionBias, make_rating
from rrm_reward.record import RunLog, read_groups
from rrm_reward.reward import make_reward
from rrm_reward.tournament import make_tournament
from rrm_reward.types import Group, PositionBelief

from .support import clock
from .support.comparer import QualityJudge
from .support.running_judge import running_judge


def groups(count: int, n: int = 6) -> list[Group]:
    rng = random.Random(0)
    return [Group(f"g{k}", f"q{k}", [f"{rng.random()} {k} {i}" for i in range(n)]) for k in range(count)]


def test_outcomes_and_the_recorded_belief_give_the_same_ratings_again(tmp_path: Path) -> None:
    async def judge_them() -> dict[str, list[float]]:
        arena = Arena(
            QualityJudge(noise=0.5, latency=lambda a, b: random.Random(a + b).random()),
            lambda n, seed, position=None: make_tournament("circular", n, seed=seed),
            make_rating("bradley_terry"),
            make_reward(),
            concurrency=20,
            position=PositionBias(),
            recorder=RunLog(tmp_path / "run.sqlite"),
        )
        async with arena:
            results = {r.id: r async for _, r in arena.judge_all(groups(12))}
            assert arena.snapshot()["position_groups"] == 12
            assert 0 < arena.snapshot()["position_bias_stderr"] < 1
        beliefs = {r.position for r in results.values()}
        assert len(beliefs) == 12  # each group taught the next something
        assert PositionBelief(0.0, 1.5) in beliefs  # the first to be closed knew nothing
        return {id: r.rewards.tolist() for id, r in results.items()}

    rewards = clock.run(judge_them())
    rate, reward = make_rating("bradley_terry"), make_reward()
    logged = list(read_groups(tmp_path / "run.sqlite"))
    assert len(logged) == 12
    for group in logged:
        outcomes = sorted(group.outcomes, key=lambda o: (o.round, o.i, o.j))
        again = reward(rate, rate(group.size, outcomes, group.position))
        np.testing.assert_array_equal(again, rewards[group.id])


def test_rank_learns_the_bias_beside_its_output_and_goes_on_with_it(tmp_path: Path, capsys) -> None:
    lines = [
        json.dumps(
            {
                "id": k,
                "query": f"q{k}",
                "responses": [f"quality={random.Random(f'{k} {i}').random()}" for i in range(6)],
            }
        )
        for k in range(30)
    ]
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    state = tmp_path / "out.jsonl.position.json"
    with running_judge(bias=0.3, noise=0.2) as judge:
        command = [
            *("rank", str(source), "--output", str(output), "--judge", judge.url, "--model", "RRM-7B"),
            *("--rating", "bradley_terry"),
        ]
        source.write_text("\n".join(lines[:20]) + "\n")
        assert main(command) == 0
        assert json.loads(state.read_text())["groups"] == 20
        assert json.loads(state.read_text())["mean"] > 0.8
        assert "position bias +" in capsys.readouterr().err
        source.write_text("\n".join(lines) + "\n")
        assert main(command) == 0
        assert json.loads(state.read_text())["groups"] == 30
        output.unlink()  # another run under the same name knows nothing of this one
        source.write_text("\n".join(lines[:3]) + "\n")
        assert main(command) == 0
        assert json.loads(state.read_text())["groups"] == 3
