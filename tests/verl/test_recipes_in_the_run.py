"""Every run that recipes/{rocm,cuda}/README.md tell users to start, as its script would start it, composed once."""

from __future__ import annotations

import pytest

from recipes.sizing.documented import ROOT, Run, documented_runs, script_arguments
from recipes.sizing.page import make_page
from rrm_reward.cluster._size_options import parse
from rrm_reward.cluster._size_report import estimate, make_plan, report
from rrm_reward.integrations.verl.check import check_config

MODELS = {
    "colocated": ("Reward-Reasoning/RRM-7B", 8),
    "pool": ("Reward-Reasoning/RRM-32B", 4),
    "two_nodes": ("Reward-Reasoning/RRM-32B", 8),
}
"""The judge, and the policy's GPUs."""


@pytest.fixture(scope="module")
def runs() -> tuple[Run, ...]:
    return documented_runs()


def test_both_pages_document_every_variant(runs: tuple[Run, ...]) -> None:
    found = sorted((run.vendor, run.variant) for run in runs)
    assert found == sorted((vendor, variant) for vendor in ("rocm", "cuda") for variant in MODELS)


def test_every_documented_run_passes_the_checks_of_verl_and_ours(runs: tuple[Run, ...]) -> None:
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config

    for run in runs:
        validate_config(run.config, need_reference_policy(run.config), need_critic(run.config))
        settings = check_config(run.config)
        rrm = settings.rrm
        found = (rrm.judge.model, run.config.trainer.n_gpus_per_node)
        assert (run.line, found) == (run.line, MODELS[run.variant])
        assert (rrm.tournament.name, rrm.rating.name, settings.rollouts) == ("round_robin", "elo", 8)


def test_every_documented_run_fits_on_the_gpus_of_its_page(runs: tuple[Run, ...]) -> None:
    for run in runs:
        text, fits = report(parse(run.size))
        assert fits, f"{run.line}\n{text}"


def test_every_documented_run_lets_in_as_many_calls_as_its_judge_holds(runs: tuple[Run, ...]) -> None:
    for run in runs:
        arguments = parse(run.size)
        plan = make_plan(arguments)
        free = parse(run.size)
        free.concurrency = None
        assert (run.line, estimate(arguments, plan).sequences) == (run.line, estimate(free, plan).sequences)


def test_no_call_of_a_documented_run_times_out_that_only_waits_and_thinks(runs: tuple[Run, ...]) -> None:
    for run in runs:
        arguments, judge = parse(run.size), check_config(run.config).rrm.judge
        found = estimate(arguments, plan := make_plan(arguments))
        waiting = min(found.concurrency, plan.load.calls) / plan.replicas - found.sequences
        queued = waiting * plan.load.thought_tokens / found.rate
        assert judge.timeout > queued + found.longest, run.line


def test_the_page_is_what_the_recipes_make_of_it(runs: tuple[Run, ...]) -> None:
    assert (ROOT / "docs/sizing.md").read_text() == make_page(runs), "python -m recipes.sizing"


def test_an_unknown_variant_is_refused_by_the_script() -> None:
    import subprocess

    with pytest.raises(subprocess.CalledProcessError):
        script_arguments("recipes/rocm/run.sh three_nodes")
