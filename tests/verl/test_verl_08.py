"""verl 0.8, in the environment that has it. One process gives all answers: to import verl takes seconds."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from recipes.miniature.verl_cpu.launch import ROOT
from tests.verl.composing import RECIPES, VARIANTS


@pytest.fixture(scope="module")
def answers(verl08: Path) -> dict[str, Any]:
    told = {"recipes": str(RECIPES), "variants": [list(overrides) for overrides in VARIANTS]}
    done = subprocess.run(
        [verl08, "-m", "tests.verl.in_verl_08"],
        cwd=ROOT,
        env={**os.environ, "VERL_USE_EXTERNAL_MODULES": "rrm_reward.integrations.verl.advantage"},
        input=json.dumps(told),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_it_registers_the_estimator_by_the_environment_variable(answers: dict[str, Any]) -> None:
    """As verl 0.9 does, in `test_trainer_runs`."""
    assert answers["advantages"] == [[-1.0], [1.0]]


def test_every_variant_of_the_recipe_passes_its_checks(answers: dict[str, Any]) -> None:
    assert answers["variants"] == list(VARIANTS.values())


def test_the_agent_loop_manager_says_to_use_the_reward_manager(answers: dict[str, Any]) -> None:
    assert "needs verl 0.9, and this is 0.8.0" in answers["refusal"]
    assert "use the reward manager" in answers["refusal"]
