"""A function of the user's as the judge, and the configuration of kinds."""

import math

import numpy as np
import pytest

from rrm_reward.build import build_arena
from rrm_reward.config import load
from rrm_reward.errors import ConfigError
from rrm_reward.types import Group

HERE = "tests.scalar.oracles"
RESPONSES = ["a", "ccc", "bb", "dddd"]


async def judged(function, *overrides, responses=RESPONSES):
    config = load(overrides=["judge.kind=oracle", f"judge.function={HERE}:{function}", *overrides])
    async with build_arena(config) as arena:
        return await arena.judge(Group("g", "q", responses)), arena.snapshot()


async def test_a_function_of_two_responses_is_compared_in_any_schedule():
    result, _ = await judged("longer", "tournament.name=knockout")
    assert result.comparisons == 3
    assert np.argmax(result.rewards) == 3
    result, totals = await judged("longer")
    assert np.argsort(result.rewards).tolist() == [0, 2, 1, 3]
    assert totals["calls"] == 6


async def test_a_tie_is_honest():
    result, _ = await judged("longer", "rating.name=win_rate", responses=["xy", "yx"])
    assert result.rewards.tolist() == [0.0, 0.0]
    assert result.missing == 0


async def test_a_function_of_one_response_scores_it():
    result, _ = await judged("length")
    assert result.ratings.value.tolist() == pytest.approx([0.1, 0.3, 0.2, 0.4])
    assert result.comparisons == 0


async def test_a_function_may_be_a_coroutine_function():
    result, _ = await judged("later")
    assert result.ratings.value.tolist() == [1.0, 3.0, 2.0, 4.0]


async def test_what_an_oracle_does_not_know_or_fails_on_is_missing():
    result, totals = await judged("knows_little", responses=["a", "??", "crash", "bbb"])
    assert np.isnan(result.rewards).tolist() == [False, True, True, False]
    assert totals["oracle_errors"] == 1.0
    assert result.missing == 2


async def test_an_oracle_sees_the_final_answer():
    result, _ = await judged("length", responses=["<think>long thoughts</think>abc"])
    assert result.ratings.value.tolist() == [pytest.approx(0.3)]
    whole = "<think>long thoughts</think>abc"
    result, _ = await judged("length", "judge.response_view=full", responses=[whole])
    assert result.ratings.value.tolist() == [pytest.approx(len(whole) / 10)]
    assert math.isfinite(result.rewards[0])


@pytest.mark.parametrize(
    ("overrides", "key", "fix"),
    [
        (["judge.kind=rmm"], "judge.kind", "rrm, scalar, oracle"),
        (["judge.kind=oracle"], "judge.function", "package.module:name"),
        (["judge.kind=oracle", "judge.function=nowhere:f"], "judge.function", "cannot be imported"),
        (["judge.kind=oracle", f"judge.function={HERE}:absent"], "judge.function", "cannot be imported"),
        (["judge.kind=oracle", f"judge.function={HERE}:not_callable"], "judge.function", "is no function"),
        (["judge.kind=oracle", f"judge.function={HERE}:one"], "judge.function", "takes 1 arguments"),
        (["judge.kind=oracle", f"judge.function={HERE}:longer", "judge.votes=3"], "judge.votes", "at 1"),
        (
            ["judge.kind=oracle", f"judge.function={HERE}:length", "reward.scale=decided"],
            "reward.scale",
            "standard errors",
        ),
        (["judge.kind=scalar"], "judge.model", "name the judge"),
        (["judge.kind=scalar", "judge.model=m"], "judge.urls", "at least one base URL"),
        (["judge.kind=scalar", "judge.model=m", "judge.backend=ray"], "judge.backend", "scalar"),
    ],
)
def test_a_kind_that_cannot_work_is_refused_with_the_fix(overrides, key, fix):
    with pytest.raises(ConfigError) as caught:
        build_arena(load(overrides=overrides))
    assert caught.value.key == key
    assert fix in caught.value.fix


def test_rank_takes_an_oracle_too_and_counts_its_calls_beforehand(tmp_path, capsys):
    import json

    from rrm_reward import cli

    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps({"id": 1, "query": "q", "responses": ["a", "ccc", "bb", "bb"]}) + "\n")
    oracle = ["judge.kind=oracle", f"judge.function={HERE}:length"]
    assert cli.main(["rank", str(path), "--dry-run", *oracle]) == 0
    assert "calls        3" in capsys.readouterr().out
    assert cli.main(["rank", str(path), *oracle]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["ratings"] == [0.1, 0.3, 0.2, 0.2]
    assert (row["comparisons"], row["calls"]) == (0, 3)
