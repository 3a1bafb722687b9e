"""Memory arithmetic: shapes against published sizes, and the figures of the docs against the program."""

from __future__ import annotations

import re

import pytest

from recipes.miniature.verl_cpu.launch import ROOT
from rrm_reward import cli
from rrm_reward.cluster import _sizing as sizing
from rrm_reward.cluster._size_report import count_comparisons, parse, report
from rrm_reward.errors import ConfigError

PAGE = (ROOT / "docs/sizing.md").read_text()
EXAMPLES = re.findall(r"```\n\$ rrm-reward size ([^\n]*)\n(.*?)\n```", PAGE, re.DOTALL)


@pytest.mark.parametrize(
    ("size", "parameters"),
    # "num_parameters" of Qwen2.5's model cards and safetensors indices on the hub
    [("1.5B", 1_543_714_304), ("7B", 7_615_616_512), ("14B", 14_770_033_664), ("32B", 32_763_876_352)],
)
def test_shapes_have_as_many_parameters_as_the_models(size, parameters):
    assert sizing.SHAPES[size].parameters == parameters


def test_keys_and_values_of_a_token_are_those_of_grouped_query_attention():
    assert sizing.SHAPES["7B"].kv_bytes == 28 * 2 * 4 * 128 * 2
    assert sizing.SHAPES["32B"].kv_bytes == 64 * 2 * 8 * 128 * 2


@pytest.mark.parametrize(("command", "output"), EXAMPLES, ids=[command for command, _ in EXAMPLES])
def test_every_figure_of_the_page_is_what_the_program_prints(command, output, capsys):
    expected = 1 if "DOES NOT FIT" in output else 0
    assert cli.main(["size", *command.split()]) == expected
    assert capsys.readouterr().out.rstrip("\n") == output


def test_the_page_shows_both_what_fits_and_what_does_not():
    assert len(EXAMPLES) >= 5
    assert {"DOES NOT FIT" in output for _, output in EXAMPLES} == {True, False}


def test_sixteen_rollouts_of_eight_thousand_tokens_are_on_the_page():
    for size in ("7B", "32B"):
        assert f"{16 * 8192 * sizing.SHAPES[size].kv_bytes / sizing.GB:.1f} GB ({size})" in PAGE


@pytest.mark.parametrize(
    ("schedule", "n", "comparisons"), [("knockout", 16, 15), ("round_robin", 8, 28), ("knockout", 1, 0)]
)
def test_comparisons_are_counted_by_playing_the_tournament(schedule, n, comparisons):
    assert count_comparisons(schedule, n) == comparisons


def test_a_sleeping_judge_leaves_its_memory_and_more_gpus_never_need_more_each():
    def needed(gpus):
        text, _ = report(parse(["--policy", "7B", "--judge", "7B", "--gpus", gpus]))
        return {name: float(total) for name, total in re.findall(r"^(\w+) +([\d.]+) of", text, re.MULTILINE)}

    four, eight, two_nodes = needed("4xMI300X"), needed("8xMI300X"), needed("2x8xMI300X")
    assert list(four) == ["rollout", "judging", "training"]
    for phase in four:
        assert four[phase] > eight[phase] > two_nodes[phase]


def test_measured_tokens_per_second_replace_the_assumption():
    text, _ = report(parse(["--tokens-per-second", "1000", "--prompts", "1", "--rollouts", "2"]))
    assert "decodes 1000 tokens/s (measured)" in text
    assert "judging takes 0 + 0 s" in text  # one call of 2048 tokens, over 8 replicas


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (["--policy", "9B"], "--policy"),
        (["--gpus", "8xTPU"], "--gpus"),
        (["--gpus", "0xH100"], "--gpus"),
        (["--gpus", "H100"], "--gpus"),
        (["--prompts", "0"], "--prompts"),
    ],
)
def test_what_cannot_be_is_refused_with_the_option(arguments, key, capsys):
    with pytest.raises(ConfigError) as refused:
        report(parse(arguments))
    assert refused.value.key == key
    assert cli.main(["size", *arguments]) == 2
    assert key in capsys.readouterr().err
