"""Memory arithmetic: shapes against published sizes, and the figures of the docs against the program."""

from __future__ import annotations

import re

import pytest

from recipes.miniature.verl_cpu.launch import ROOT
from rrm_reward import cli
from rrm_reward.cluster import _sizing as sizing
from rrm_reward.cluster._shapes import CHIPS, GIB, MODELS, SHAPES
from rrm_reward.cluster._size_options import count_comparisons, parse, shape_of
from rrm_reward.cluster._size_report import estimate, make_plan, report
from rrm_reward.errors import ConfigError

PAGE = (ROOT / "docs/sizing.md").read_text()
EXAMPLES = re.findall(r"```\n\$ rrm-reward size ([^\n]*)\n(.*?)\n```", PAGE, re.DOTALL)


@pytest.mark.parametrize(
    ("size", "parameters"),
    # of the safetensors on the hub; R1-Distill-Qwen-1.5B has an output matrix of its own, Qwen2.5-1.5B has not
    [("1.5B", 1_777_088_000), ("7B", 7_615_616_512), ("14B", 14_770_033_664), ("32B", 32_763_876_352)],
)
def test_shapes_have_as_many_parameters_as_the_models(size, parameters):
    assert SHAPES[size].parameters == parameters


def test_keys_and_values_of_a_token_are_those_of_grouped_query_attention():
    assert SHAPES["7B"].kv_bytes == 28 * 2 * 4 * 128 * 2
    assert SHAPES["32B"].kv_bytes == 64 * 2 * 8 * 128 * 2


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
        assert f"{16 * 8192 * SHAPES[size].kv_bytes / GIB:.1f} GiB ({size})" in PAGE


@pytest.mark.parametrize(
    "name", ["7B", "RRM-7B", "Reward-Reasoning/RRM-7B", "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"]
)
def test_models_are_known_by_size_and_by_name(name):
    assert shape_of(name, "--judge") is SHAPES["7B"]
    assert shape_of(name.lower(), "--judge") is SHAPES["7B"]


@pytest.mark.parametrize(
    "name", ["Qwen3-1.7B", "Llama-3.1-7B", "RRM-14B", "1.7B", "17B", "", "7B/", "Mistral-7B-v0.1"]
)
def test_models_whose_shape_is_not_known_are_refused_and_not_guessed(name, capsys):
    assert cli.main(["size", "--judge", name]) == 2
    assert "its shape is not known" in capsys.readouterr().err


def test_memory_is_what_drivers_report_and_not_a_power_of_ten():
    reported = {"H100": 79.6, "H200": 140.4, "MI300X": 192.0, "B200": 179.1}  # GiB: nvidia-smi, rocm-smi
    assert {name: round(CHIPS[name].memory / GIB, 1) for name in reported} == reported


def settings(*command):
    arguments = parse(command)
    plan = make_plan(arguments)
    return plan, estimate(arguments, plan)


def test_the_utilization_it_tells_to_set_leaves_the_training_state_its_memory():
    text, fits = report(parse(["--gpus", "8xH100"]))
    assert fits
    (judge,) = re.findall(r"set gpu_memory_utilization (\S+) for the judge", text)
    state = sizing.STATE_BYTES * SHAPES["7B"].parameters / 8
    memory = CHIPS["H100"].memory
    assert float(judge) * memory + state <= sizing.USABLE * memory
    assert (float(judge) + 0.01) * memory + state > sizing.USABLE * memory
    # with GPUs of its own nothing stands beside it
    own, _ = settings("--gpus", "8xH100", "--judge-gpus", "8xH100")
    assert own.utilization("judging") == sizing.USABLE


@pytest.mark.parametrize(
    ("given", "fits"), [("0.60", True), ("0.76", True), ("0.80", False), ("0.20", False)]
)
def test_a_utilization_is_held_against_both_ends(given, fits):
    text, found = report(parse(["--gpus", "8xH100", "--utilization", given]))
    assert found is fits
    assert (f"gpu_memory_utilization {given} in judging (0.27 to 0.76 fits)" in text) is not fits


def test_a_smaller_utilization_or_concurrency_is_a_slower_judge():
    _, most = settings("--gpus", "8xMI300X")
    _, less = settings("--gpus", "8xMI300X", "--utilization", "0.3")
    _, few = settings("--gpus", "8xMI300X", "--concurrency", "512")
    assert few.sequences == 512 // 8
    assert less.sequences < most.sequences
    assert few.decoding > less.decoding > most.decoding


def test_a_replica_never_decodes_more_at_once_than_vllm_takes():
    _, found = settings("--judge", "1.5B", "--policy", "1.5B", "--gpus", "1xA100", "--prompts", "999")
    assert found.room == CHIPS["A100"].sequences == 256


def test_what_does_not_fit_gets_no_time_and_no_settings():
    text, fits = report(parse(["--judge", "32B", "--gpus", "2xA100"]))
    assert not fits
    assert text.endswith("IT DOES NOT FIT: judging, training")
    assert "judging takes" not in text
    assert "set " not in text


def test_every_known_model_and_gpu_is_answered():
    for model in MODELS:
        for gpu in CHIPS:
            assert report(parse(["--policy", "1.5B", "--judge", model, "--gpus", f"8x{gpu}"]))[1]


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
    assert "decodes 1000 tokens/s, 1 at once (measured)" in text
    assert "judging takes 0 + 0 s" in text  # one call of 2048 tokens, over 8 replicas


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (["--policy", "9B"], "--policy"),
        (["--gpus", "8xTPU"], "--gpus"),
        (["--gpus", "0xH100"], "--gpus"),
        (["--gpus", "H100"], "--gpus"),
        (["--prompts", "0"], "--prompts"),
        (["--tensor-parallel", "16"], "--tensor-parallel"),
        (["--utilization", "-1"], "--utilization"),
    ],
)
def test_what_cannot_be_is_refused_with_the_option(arguments, key, capsys):
    with pytest.raises(ConfigError) as refused:
        report(parse(arguments))
    assert refused.value.key == key
    assert cli.main(["size", *arguments]) == 2
    assert key in capsys.readouterr().err
