"""The recipes compose with verl's own config, of both versions, and pass every check that needs no GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from recipes.miniature.verl_cpu.launch import ROOT
from tests.support.running_judge import running_judge

RECIPES = ROOT / "recipes/verl"
JUDGES = [
    ("rrm_7b", "Reward-Reasoning/RRM-7B"),
    ("rrm_32b", "Reward-Reasoning/RRM-32B"),
]
SCHEDULES = [("elo", "round_robin", "elo"), ("knockout", "knockout", "placement")]

# verl's own checks of a whole config run in the trainer's first second, before any GPU is looked for
CHECK = """
import json, sys
from pathlib import Path
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.utils.config import validate_config
from rrm_reward.integrations.verl.check import check_config, compose_config
from verl.experimental.reward_loop.reward_loop import migrate_legacy_reward_impl

config = compose_config(Path(sys.argv[1]), "webinstruct_rrm", sys.argv[2:])
if "reward_model" in config:
    config = migrate_legacy_reward_impl(config)
validate_config(config, need_reference_policy(config), need_critic(config))
settings = check_config(config)
print(json.dumps([settings.rrm.judge.model, settings.rrm.tournament.name, settings.rrm.rating.name, settings.rollouts]))
"""


def checked(python: Path | str, *overrides: str) -> list[object]:
    """Model, schedule, rating and group size of the recipe with these overrides, after all checks."""
    command = [str(python), "-c", CHECK, str(RECIPES), *overrides]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return list(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(("judge", "model"), JUDGES)
@pytest.mark.parametrize(("schedule", "tournament", "rating"), SCHEDULES)
def test_every_variant_passes_the_checks_of_verl_09(
    judge: str, model: str, schedule: str, tournament: str, rating: str
) -> None:
    found = checked(sys.executable, f"rrm/judge={judge}", f"rrm/schedule={schedule}")
    assert found == [model, tournament, rating, 8]


def test_the_agent_loop_route_passes_them_too() -> None:
    assert checked(sys.executable, "route=agent_loop")[3] == 8


def test_the_recipe_passes_the_checks_of_verl_08(verl08: Path) -> None:
    assert checked(verl08, "rrm/schedule=knockout")[1] == "knockout"


def run_check(url: str, overrides: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rrm_reward.integrations.verl.check"]
    command += [f"--config-path={RECIPES}", "--config-name=webinstruct_rrm", f'rrm.judge.urls=["{url}"]']
    return subprocess.run([*command, *overrides], capture_output=True, text=True, cwd=ROOT, check=False)


def test_the_check_asks_the_judge_and_names_what_is_wrong() -> None:
    with running_judge(model="Reward-Reasoning/RRM-7B") as judge:
        good = run_check(judge.url)
        wrong_model = run_check(judge.url, ["rrm/judge=rrm_32b"])
        wrong_key = run_check(judge.url, ["+rrm.judge.vote=3"])
    assert good.returncode == 0, good.stderr
    assert "the judge answers" in good.stdout
    assert wrong_model.returncode == 1
    assert "judge.model='Reward-Reasoning/RRM-32B'" in wrong_model.stderr
    assert wrong_key.returncode == 1
    assert "did you mean judge.votes" in wrong_key.stderr
    gone = run_check("http://127.0.0.1:9/v1", ["rrm.arena.concurrency=0"])
    assert gone.returncode == 1
    assert "arena.concurrency" in gone.stderr


def test_the_launch_script_is_valid_shell() -> None:
    subprocess.run(["bash", "-n", RECIPES / "run_webinstruct.sh"], check=True)
