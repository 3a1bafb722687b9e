"""The recipes compose with verl's own config and pass every check that needs no GPU (0.8: `test_verl_08`)."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from recipes.miniature.verl_cpu.launch import ROOT
from rrm_reward.integrations.verl.check import check_config, compose_config, main
from tests.support.running_judge import running_judge
from tests.verl.composing import RECIPES, VARIANTS, compose_and_check
from tests.verl.runs import REWARD_MANAGER


def test_every_variant_passes_the_checks_of_verl_09() -> None:
    for overrides, expected in VARIANTS.items():
        assert compose_and_check(RECIPES, overrides) == expected


def test_the_agent_loop_route_passes_them_too() -> None:
    assert compose_and_check(RECIPES, ["route=agent_loop"]) == VARIANTS[()]


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
