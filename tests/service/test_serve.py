"""`rrm-reward serve` as a process: start, wrong settings, the end."""

import asyncio
import os
import signal
import subprocess
import sys

import httpx
import pytest

from rrm_reward import cli
from tests.service.serving import sample
from tests.support.running_judge import running_judge


def command(judge, *arguments):
    program = [sys.executable, "-m", "rrm_reward.cli", "serve", "--port", "0"]
    return [*program, "--judge", judge.url, "--model", judge.model, *arguments]


def started(judge, *arguments):
    """The process and the URL that it printed."""
    process = subprocess.Popen(command(judge, *arguments), stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    assert "serving on http://127.0.0.1:" in line
    return process, line.split()[-1]


async def state_is(http, **state):
    """Wait until the service says so."""
    for _ in range(6000):
        found = (await http.get("/health")).json()
        if found == state:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"not {state} but {found}")


def ended(process):
    try:
        return process.wait(300)
    finally:
        process.kill()
        process.stdout.close()


async def test_sigterm_finishes_open_groups_their_late_members_included():
    with running_judge() as judge:
        process, url = started(judge)
        try:
            async with httpx.AsyncClient(base_url=url, timeout=300) as http:
                waiting = [
                    asyncio.create_task(http.post("/v1/samples", json=sample(k, f"quality=0.{k}")))
                    for k in (0, 1)
                ]
                await state_is(http, status="ok", held=3)
                process.send_signal(signal.SIGTERM)
                await state_is(http, status="draining", held=3)
                other = await http.post("/v1/samples", json=sample(0, group="new"))
                assert other.status_code == 503
                assert other.headers["retry-after"] == "1"
                waiting.append(asyncio.create_task(http.post("/v1/samples", json=sample(2, "quality=0.2"))))
                rewards = [answer.json()["reward"] for answer in await asyncio.gather(*waiting)]
                assert rewards == sorted(rewards)
                assert len(set(rewards)) == 3
        finally:
            assert ended(process) == 0


async def test_what_cannot_be_finished_in_time_is_cut_and_told_by_the_exit_code():
    with running_judge() as judge:
        process, url = started(judge, "service.drain=0.5")
        try:
            async with httpx.AsyncClient(base_url=url, timeout=300) as http:
                waiting = asyncio.create_task(http.post("/v1/samples", json=sample(0)))
                await state_is(http, status="ok", held=3)
                process.send_signal(signal.SIGTERM)
                assert (await waiting).json() == {"reward": None, "rating": None, "stderr": None}
        finally:
            assert ended(process) == 1


def test_settings_are_those_of_rank_and_the_run_log_is_whole(tmp_path):
    log = tmp_path / "run.sqlite"
    with running_judge() as judge:
        process, url = started(judge, "--tournament", "knockout", "--votes", "3", f"log.path={log}")
        group = {"id": 1, "query": "q", "responses": ["quality=0.1", "quality=0.9"]}
        answer = httpx.post(f"{url}/v1/rewards", json=group, timeout=300).json()
        process.send_signal(signal.SIGINT)
        assert ended(process) == 0
    assert (answer["comparisons"], answer["calls"]) == (1, 3)
    assert log.stat().st_size > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "--host='0.0.0.0': other machines can reach it"),
        (["--host", "192.0.2.1", "service.anonymous=true"], "--host='192.0.2.1': cannot listen there"),
        (["--port", "99999999"], "--port=99999999: cannot listen there"),
        (["--votes", "0"], "judge.votes=0: must be at least 1"),
        (["service.max_grop=3"], "did you mean service.max_group?"),
        (["service.max_waiting=8"], "service.max_waiting=8: must be at least 256"),
        (["service.group_size=1"], "service.group_size=1: must be at least 2"),
        (["--model", "RRM-8B"], "judge.model='RRM-8B'"),
    ],
)
def test_a_wrong_setting_is_named_with_its_fix_before_anybody_is_served(capfd, arguments, message):
    with running_judge() as judge:
        full = [*command(judge)[3:], *arguments]
        assert cli.main(full) == 2
    out, err = capfd.readouterr()
    assert message in err
    assert "Traceback" not in err
    assert out == ""


def test_a_port_that_is_taken_is_named(capfd):
    with running_judge() as judge:
        assert cli.main([*command(judge)[3:], "--port", str(judge.port)]) == 2
    assert f"--port={judge.port}: cannot listen there" in capfd.readouterr().err


def test_other_machines_are_served_with_a_token(monkeypatch):
    monkeypatch.setenv("RRM_REWARD_TOKEN", "s3cret")
    with running_judge() as judge:
        process = subprocess.Popen(
            command(judge, "--host", "0.0.0.0"), stdout=subprocess.PIPE, text=True, env=dict(os.environ)
        )
        try:
            port = process.stdout.readline().rsplit(":", 1)[1].strip()
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300) as http:
                assert http.get("/metrics").status_code == 401
                assert http.get("/metrics", auth=("any", "s3cret")).status_code == 200
        finally:
            process.send_signal(signal.SIGTERM)
            assert ended(process) == 0


def test_the_library_needs_none_of_the_services_packages():
    absent = ("starlette", "uvicorn", "prometheus_client", "fastapi", "httptools")
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({absent!r}))\n"
        "import rrm_reward.cli, rrm_reward.build, rrm_reward.rank, rrm_reward.assembler\n"
        "raise SystemExit(rrm_reward.cli.main(['serve', '--judge', 'http://127.0.0.1:1/v1', '--model', 'm']))\n"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert process.returncode == 2
    assert "pip install 'rrm-reward[service]'" in process.stderr


async def test_a_client_that_stalls_in_the_middle_of_a_request_does_not_outlive_the_second_signal():
    with running_judge() as judge:
        process, url = started(judge)
        try:
            host, port = url.removeprefix("http://").split(":")
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"POST /v1/samples HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n12345")
            await writer.drain()
            async with httpx.AsyncClient(base_url=url, timeout=300) as http:
                waiting = asyncio.create_task(http.post("/v1/samples", json=sample(0)))
                await state_is(http, status="ok", held=3)
                process.send_signal(signal.SIGTERM)
                await state_is(http, status="draining", held=3)
                process.send_signal(signal.SIGTERM)
                await asyncio.gather(waiting, return_exceptions=True)
            assert await asyncio.to_thread(process.wait, 300) != 0
            writer.close()
        finally:
            ended(process)
