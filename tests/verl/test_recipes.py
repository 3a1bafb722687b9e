"""The recipes compose with verl's own config, of both versions, and pass every check that needs no GPU."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from recipes.miniature.verl_cpu.launch import ROOT
from rrm_reward.integrations.verl.check import check_config, compose_config, main
from tests.support.running_judge import running_judge
from tests.verl.runs import REWARD_MANAGER

RECIPES = ROOT / "recipes/verl"
VARIANTS = {
    (): ["Reward-Reasoning/RRM-7B", "round_robin", "elo", 8],
    ("rrm/judge=rrm_32b",): ["Reward-Reasoning/RRM-32B", "round_robin", "elo", 8],
    ("rrm/schedule=knockout",): ["Reward-Reasoning/RRM-7B", "knockout", "placement", 8],
    ("rrm/judge=rrm_32b", "rrm/schedule=knockout"): ["Reward-Reasoning/RRM-32B", "knockout", "placement", 8],
    ("actor_rollout_ref.rollout.n=16",): ["Reward-Reasoning/RRM-7B", "round_robin", "elo", 16],
}


def compose_and_check(folder: str, variants: list[list[str]]) -> list[list[object]]:
    """Model, schedule, rating and group size of every variant, after verl's checks of a whole config and ours.

    verl runs its checks in the trainer's first second, before any GPU is looked for.
    """
    from verl.experimental.reward_loop.reward_loop import migrate_legacy_reward_impl
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config

    found: list[list[object]] = []
    for overrides in variants:
        config = compose_config(Path(folder), "webinstruct_rrm", overrides)
        if "reward_model" in config:
            config = migrate_legacy_reward_impl(config)
        validate_config(config, need_reference_policy(config), need_critic(config))
        settings = check_config(config)
        rrm = settings.rrm
        found.append([rrm.judge.model, rrm.tournament.name, rrm.rating.name, settings.rollouts])
    return found


def test_every_variant_passes_the_checks_of_verl_09() -> None:
    variants = [list(overrides) for overrides in VARIANTS]
    assert compose_and_check(str(RECIPES), variants) == list(VARIANTS.values())


def test_the_agent_loop_route_passes_them_too() -> None:
    assert compose_and_check(str(RECIPES), [["route=agent_loop"]]) == [VARIANTS[()]]


def test_every_variant_passes_the_checks_of_verl_08(verl08: Path) -> None:
    code = (
        "import json, sys; from tests.verl.test_recipes import compose_and_check; "
        "print(json.dumps(compose_and_check(sys.argv[1], json.loads(sys.argv[2]))))"
    )
    variants = json.dumps([list(overrides) for overrides in VARIANTS])
    command = [verl08, "-c", code, RECIPES, variants]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == list(VARIANTS.values())


@pytest.mark.parametrize("page", ["README.md", "docs/verl.md"])
def test_the_lines_of_the_documentation_work_when_merged_into_verls_own_config(page: str) -> None:
    import verl.trainer

    own = compose_config(Path(verl.trainer.__file__).parent / "config", "ppo_trainer", [])
    lines = re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert len(lines) == 1
    OmegaConf.set_struct(own, False)
    merged = OmegaConf.merge(own, OmegaConf.create(lines[0]))
    assert isinstance(merged, DictConfig)
    assert check_config(merged).rollouts == 8


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """`rrm_reward.integrations.verl.check` on the recipe: exit code and everything it said."""

    def run(url: str, *overrides: str) -> tuple[int, str]:
        arguments = [f"--config-path={RECIPES}", "--config-name=webinstruct_rrm", f'rrm.judge.urls=["{url}"]']
        code = main([*arguments, *overrides])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def test_the_check_asks_the_judge(check: Callable[..., tuple[int, str]]) -> None:
    with running_judge(model="Reward-Reasoning/RRM-7B") as judge:
        code, said = check(judge.url)
        assert code == 0, said
        assert "groups of 8, round_robin; the judge answers" in said
        judge.faults.no_verdict = 1.0
        code, said = check(judge.url)
        assert code == 1
        assert "no verdict on a simple comparison" in said


def test_a_run_of_overrides_alone_is_checked_against_verls_own_config(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with running_judge() as judge:
        overrides = [*REWARD_MANAGER, f'+rrm.judge.urls=["{judge.url}"]', "+rrm.judge.model=RRM-7B"]
        assert main([*overrides, "actor_rollout_ref.rollout.n=4", "data.train_batch_size=64"]) == 0
        assert "groups of 4, round_robin" in capsys.readouterr().out
        assert main(overrides) == 1
        assert "actor_rollout_ref.rollout.n=1: a group of one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["rrm/judge=rrm_32b"], "judge.model='Reward-Reasoning/RRM-32B'"),
        (["+rrm.judge.vote=3"], "did you mean judge.votes"),
        (["+rrm.arena.concurency=3"], "did you mean arena.concurrency"),
        (["rrm.tournament.name=melee"], "tournament.name='melee'"),
        (["reward.num_workers=1"], "reward.num_workers=1"),
        (["reward.reward_manager.name=naive"], "no route to this package"),
        (["data.tran_batch_size=1"], "tran_batch_size"),
    ],
)
def test_the_check_names_what_is_wrong(
    check: Callable[..., tuple[int, str]], overrides: list[str], expected: str
) -> None:
    with running_judge(model="Reward-Reasoning/RRM-7B") as judge:
        code, said = check(judge.url, *overrides)
    assert code == 1
    assert expected in said


def test_the_launch_script_waits_for_the_judge_checks_and_starts_the_trainer(tmp_path: Path) -> None:
    called = tmp_path / "called"
    for name, code in (("curl", f"grep -q curl {called}"), ("python3", "true"), ("sleep", "true")):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\n{code}; code=$?\necho {name} "$@" >> {called}\nexit $code\n')
        program.chmod(0o755)
    urls = "http://one:8000/v1,http://two:8000/v1"
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "JUDGE_URL": urls}
    command = [RECIPES / "run_webinstruct.sh", "rrm/schedule=knockout"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    first, pause, second, check, train = called.read_text().splitlines()
    assert first == second
    assert first.endswith("http://one:8000/v1/models")
    assert pause.startswith("sleep")
    assert check.startswith("python3 -m rrm_reward.integrations.verl.check --config-path=")
    assert train.startswith("python3 -m verl.trainer.main_ppo --config-path=")
    assert check.split()[3:] == train.split()[3:]
    overrides = train.split()[5:]
    assert overrides == [f"rrm.judge.urls=[{urls}]", "rrm/schedule=knockout"]
    found = compose_config(RECIPES, "webinstruct_rrm", overrides).rrm.judge.urls
    assert list(found) == urls.split(",")
