"""The command line: options, settings, messages and exit codes."""

import json
import logging
import os
import subprocess
import sys
import termios
import threading

import pytest

from rrm_reward import cli
from tests.support.running_judge import running_judge

GROUPS = [
    {"id": "a", "query": "q", "responses": ["quality=0.1", "quality=0.9", "quality=0.5"]},
    {
        "id": "b",
        "query": [{"role": "user", "content": "q"}],
        "responses": ["quality=0.8", None, "quality=0.3"],
    },
    {"id": 3, "query": "q", "responses": ["quality=0.5 x", "quality=0.5 x"]},
]


@pytest.fixture(scope="module")
def judge():
    with running_judge() as judge:
        yield judge


@pytest.fixture
def groups(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(group) + "\n" for group in GROUPS))
    return str(path)


def rows(text):
    return [json.loads(line) for line in text.splitlines()]


def test_rank_writes_a_line_a_group_and_sums_up(judge, groups, capfd):
    assert cli.main(["rank", groups, "--judge", judge.url, "--model", judge.model]) == 0
    out, err = capfd.readouterr()
    first, second, third = rows(out)
    assert list(first) == ["id", "rewards", "ratings", "stderr", "comparisons", "calls", "missing"]
    assert [found["id"] for found in (first, second, third)] == ["a", "b", 3]
    assert first["rewards"][1] > first["rewards"][2] > first["rewards"][0]
    assert (first["comparisons"], first["calls"], first["missing"]) == (3, 3, 0)
    assert second["rewards"][0] > second["rewards"][2]
    assert second["rewards"][1] is second["ratings"][1] is second["stderr"][1] is None
    assert third["comparisons"] == 0
    assert third["rewards"][0] == third["rewards"][1]
    assert "3 groups, 8 responses, 1 without a reward" in err
    assert "4 comparisons, 4 calls, 0 missing" in err
    assert "completion tokens of the judge" in err


def test_settings_come_from_the_file_then_options_and_key_value_wherever_they_stand(
    judge, groups, tmp_path, capfd
):
    file = tmp_path / "rrm.yaml"
    file.write_text(
        f"judge: {{model: {judge.model}, votes: 9, temperature: 0.9}}\ntournament: {{name: knockout}}\n"
    )
    before = judge.counts["votes"]
    command = [
        "rank",
        "judge.order=both",
        groups,
        "--judge",
        judge.url,
        "--config",
        str(file),
        "--votes",
        "2",
    ]
    command = [command[0], command[2], command[1], *command[3:], "judge.temperature=0.5"]
    assert cli.main(command) == 0
    assert [found["calls"] for found in rows(capfd.readouterr().out)] == [2 * 4, 4, 0]
    assert judge.counts["votes"] - before == 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["judge.vots=3"], "judge.vots=3: unknown setting; did you mean judge.votes?"),
        (["--votes", "many"], "judge.votes='many'"),
        (["--votes", "0"], "judge.votes=0: must be at least 1"),
        (["--order", "up"], "judge.order='up': choose one of balanced, random, both"),
        (
            ["--votes", "3", "judge.votes=5"],
            "judge.votes='5': is given as an option too ('3'); leave one out",
        ),
        (["--tournament", "knockuot"], "tournament.name='knockuot'"),
        (["--rating", "eol"], "rating.name='eol'"),
        (["--judge", "http://127.0.0.1:1"], "must end in /v1: http://127.0.0.1:1/v1"),
        (["--judge", "127.0.0.1:1/v1"], "must start with http:// or https://"),
        (["--config", "no.yaml"], "config='no.yaml': no such file"),
        (["--output", "/nowhere/out.jsonl"], "--output='/nowhere/out.jsonl': No such file or directory"),
    ],
)
def test_a_wrong_setting_is_named_with_its_fix_before_anything_is_spent(
    judge, groups, capfd, arguments, message
):
    command = ["rank", groups, "--model", judge.model, *arguments]
    if "--judge" not in arguments:
        command += ["--judge", judge.url]
    before = judge.counts["requests"]
    assert cli.main(command) == 2
    out, err = capfd.readouterr()
    assert message in err
    assert "Traceback" not in err
    assert out == ""
    assert judge.counts["requests"] == before


def test_a_judge_has_to_be_named(groups, capfd):
    assert cli.main(["rank", groups, "--model", "m"]) == 2
    assert "judge.urls=[]: give at least one base URL" in capfd.readouterr().err


@pytest.mark.parametrize("arguments", [["--vots", "3"], ["stray"], ["--vote=3"], ["--tour", "knockout"]])
def test_an_unknown_option_ends_with_the_usage(groups, capfd, arguments):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["rank", groups, *arguments])
    assert "unrecognized arguments" in capfd.readouterr().err


def test_an_input_that_is_not_there_is_a_usage_error(judge, capfd):
    assert cli.main(["rank", "nowhere.jsonl", "--judge", judge.url, "--model", judge.model]) == 2
    assert "IN.jsonl='nowhere.jsonl': No such file or directory" in capfd.readouterr().err


def test_the_output_may_not_be_the_input(judge, groups, capfd):
    arguments = ["--judge", judge.url, "--model", judge.model, "--output", groups]
    assert cli.main(["rank", groups, *arguments]) == 2
    assert "is the input; name another file" in capfd.readouterr().err
    with open(groups) as file:
        assert len(file.readlines()) == 3


def test_a_judge_that_is_not_there_is_found_at_start_up_and_leaves_no_output(groups, tmp_path, capfd):
    out = tmp_path / "out.jsonl"
    command = ["rank", groups, "--judge", "http://127.0.0.1:9/v1", "--model", "m", "--output", str(out)]
    assert cli.main(command) == 2
    err = capfd.readouterr().err
    assert "http://127.0.0.1:9/v1" in err
    assert "judge.urls" in err
    assert "Traceback" not in err
    assert not out.exists()


def test_a_model_that_is_not_served_is_found_at_start_up(judge, groups, capfd):
    assert cli.main(["rank", groups, "--judge", judge.url, "--model", "RRM-8B"]) == 2
    err = capfd.readouterr().err
    assert "judge.model='RRM-8B'" in err
    assert judge.model in err


def test_a_malformed_line_is_named_the_rest_runs_and_the_exit_code_is_1(
    judge, groups, tmp_path, capfd, caplog
):
    with open(groups, "a") as file:
        file.write('{"id": "bad", "query": "q", "responses": ["x", 1]}\n' + json.dumps(GROUPS[0]) + "\n")
    out = str(tmp_path / "out.jsonl")
    command = ["rank", groups, "--judge", judge.url, "--model", judge.model, "--output", out]
    for _ in range(2):
        caplog.clear()
        assert cli.main(command) == 1
        assert "line 4: responses[1] must be a string or null, not a number" in caplog.text
        with open(out) as file:
            found = rows(file.read())
        assert [result["id"] for result in found] == ["a", "b", 3, "bad", "a"]
        assert found[3] == {
            "id": "bad",
            "error": "line 4: responses[1] must be a string or null, not a number",
        }
        assert "rewards" in found[4]
    err = capfd.readouterr().err
    assert "1 lines could not be judged" in err
    assert "5 lines were there from an earlier run" in err


def test_a_dry_run_counts_and_asks_nobody(groups, capfd, caplog):
    assert cli.main(["rank", groups, "--dry-run", "--votes", "3", "--order", "both"]) == 0
    out = capfd.readouterr().out.split("\n")
    assert [line.split()[:2] for line in out[:4]] == [
        ["groups", "3"],
        ["responses", "7"],
        ["comparisons", "4"],
        ["calls", "24"],
    ]
    assert "(1 of them duplicates)" in out[1]


def test_a_dry_run_checks_settings_and_lines_too(groups, capfd, caplog):
    assert cli.main(["rank", groups, "--dry-run", "--votes", "0"]) == 2
    assert cli.main(["rank", groups, "--dry-run", "--judge", "nonsense"]) == 2
    with open(groups, "a") as file:
        file.write("{}\n")
    assert cli.main(["rank", groups, "--dry-run"]) == 1
    assert "line 4: id is missing" in caplog.text


def test_help_shows_the_help_of_the_settings(capfd):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["rank", "--help"])
    text = " ".join(capfd.readouterr().out.split())
    assert "sampled judgments of a match in each order asked (judge.votes, default 1)" in text
    assert "(tournament.budget)" in text


def test_a_pipe_goes_in_and_out_as_a_process(judge):
    command = [
        sys.executable,
        "-m",
        "rrm_reward.cli",
        "rank",
        "-",
        "--judge",
        judge.url,
        "--model",
        judge.model,
    ]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        for group in GROUPS:
            # A result comes while the input is still open: nothing waits for the end of the file.
            process.stdin.write(json.dumps(group).encode() + b"\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["id"] == group["id"]
        process.stdin.close()
        assert process.wait(300) == 0
        assert process.stdout.read() == b""
        assert b"\r" not in process.stderr.read(), "no progress bar without a terminal"
    finally:
        process.kill()
        process.wait()


def test_a_terminal_gets_a_progress_bar(judge, groups):
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    command = [
        sys.executable,
        "-m",
        "rrm_reward.cli",
        "rank",
        groups,
        "--judge",
        judge.url,
        "--model",
        judge.model,
    ]
    process = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, timeout=300)
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert process.returncode == 0
    assert len(rows(process.stdout.decode())) == 3
    assert "3/3" in shown
    assert "comparisons/s, 0 missing" in shown


def test_a_reader_that_leaves_ends_the_run_quietly(judge, tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({**GROUPS[0], "id": k}) + "\n" for k in range(200)))
    command = [sys.executable, "-m", "rrm_reward.cli", "rank", str(path), "--judge", judge.url]
    command += ["--model", judge.model, "--concurrency", "4"]
    left, enough = threading.Event(), judge.counts["requests"] + 100
    # it goes on when the reader has left, so that it is not over before
    judge.answered_hook = lambda body: judge.counts["requests"] < enough or left.wait(300)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    left.set()
    assert process.wait(300) == 1
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()


def test_the_root_logger_is_left_as_it_was(groups):
    level = logging.getLogger().level
    cli.main(["rank", groups, "--dry-run"])
    assert logging.getLogger().level == level
