"""No secret is written down: not in errors, not in warnings, not in the run log."""

import asyncio
import logging
import sqlite3
from dataclasses import asdict

import pytest

from rrm_reward.config import JudgeConfig, load
from rrm_reward.errors import ConfigError
from rrm_reward.judge import BackendError, Judge, OpenAIBackend, Sampling
from rrm_reward.record import RunLog
from rrm_reward.redaction import redacted, redacted_settings
from tests.support.loopback_judge import Faults, LoopbackJudge

ASK = [{"role": "user", "content": "?"}]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:s3cret@host:8000/v1", "http://***@host:8000/v1"),
        ("http://s3cret@host/v1", "http://***@host/v1"),
        ("https://user:s3@cret/x@host/v1", "https://***@host/v1"),
        ("http://host/v1?api_key=s3cret", "http://host/v1?***"),
        (
            "['http://u:s3cret@a/v1', 'http://u:s3cret@b/v1']: no judge",
            "['http://***@a/v1', 'http://***@b/v1']: no judge",
        ),
        ("judge.urls='me:s3cret@host:8000/v1': must", "judge.urls='***@host:8000/v1': must"),
        ("http://host/v1: me@example.org is nobody's password", None),
        ("plain text, a@b", None),
    ],
)
def test_a_url_is_shown_without_its_credentials(text, shown):
    assert redacted(text) == (text if shown is None else shown)
    assert redacted(redacted(text)) == redacted(text)


@pytest.mark.parametrize(
    "url",
    ["ftp://me:s3cret@host/v1", "me:s3cret@host/v1", "http://me:s3cret@host", "http://host/?key=s3cret"],
)
def test_an_error_about_a_setting_shows_no_credentials(url):
    with pytest.raises(ConfigError) as caught:
        load(overrides=[f"judge.urls=['{url}']", "judge.model=RRM-7B"])
    assert "s3cret" not in str(caught.value)
    assert "host" in str(caught.value)


async def test_a_judge_that_is_not_there_is_named_without_its_password():
    judge = LoopbackJudge()
    await judge.start()
    await judge.stop()
    backend = OpenAIBackend([judge.url.replace("//", "//me:s3cret@")], judge.model, timeout=10.0)
    with pytest.raises(ConfigError) as caught:
        await backend.start()
    assert str(judge.port) in str(caught.value)
    assert "s3cret" not in str(caught.value)


async def test_warnings_and_errors_of_a_run_show_no_password(caplog):
    async with LoopbackJudge() as judge:
        backend = OpenAIBackend(
            [judge.url.replace("//", "//me:s3cret@")], judge.model, timeout=60.0, retries=0
        )
        await backend.start()
        judge.faults = Faults(status=500)
        failures = []
        for _ in range(4):
            with pytest.raises(BackendError) as caught:
                await backend.complete(ASK, 1, Sampling())
            failures.append(str(caught.value))
            if "aside" in caplog.text:
                break
        await backend.aclose()
    assert f"***@127.0.0.1:{judge.port}" in caplog.text
    assert f"***@127.0.0.1:{judge.port}" in failures[0]
    assert "s3cret" not in caplog.text + "".join(failures)


async def test_a_key_that_the_server_repeats_is_not_repeated_by_us(caplog):
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        text = b"Incorrect API key provided: s3cret"
        writer.write(b"HTTP/1.1 400 Bad\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    backend = OpenAIBackend([f"http://127.0.0.1:{port}/v1"], "RRM-7B", api_key="s3cret", timeout=60.0)
    with caplog.at_level(logging.INFO), pytest.raises(BackendError, match=r"key provided: \*\*\*") as caught:
        await backend.complete(ASK, 1, Sampling())
    await backend.aclose()
    server.close()
    assert "s3cret" not in str(caught.value) + caplog.text


def test_a_user_in_the_url_and_a_key_are_one_too_many(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    with pytest.raises(ConfigError, match="leave one of the two out"):
        Judge.from_config(JudgeConfig(urls=["http://me:s3cret@host/v1"], model="RRM-7B"))


def test_the_run_log_stores_settings_without_secrets(tmp_path):
    config = load(
        overrides=[
            "judge.urls=['http://me:s3cret@host/v1']",
            "judge.model=RRM-7B",
            "judge.extra_body={api_key: s3cret, nested: {access_token: s3cret}, top_k: 20}",
        ]
    )
    RunLog(tmp_path / "run.sqlite", asdict(config)).close()
    database = sqlite3.connect(tmp_path / "run.sqlite")
    ((stored,),) = database.execute("SELECT config FROM run")
    database.close()
    assert "s3cret" not in stored
    assert all(kept in stored for kept in ("http://***@host/v1", '"top_k": 20', "OPENAI_API_KEY", "8192"))


@pytest.mark.parametrize(
    "key", ["X-Api-Key", "secret_key", "access_key", "aws_secret_access_key", "auth-token"]
)
def test_settings_that_name_a_secret_are_hidden(key):
    assert redacted_settings({"extra_body": {"headers": {key: "s3cret"}}}) == {
        "extra_body": {"headers": {key: "***"}}
    }


def test_settings_that_only_sound_like_secrets_are_kept():
    settings = {"max_tokens": 5, "api_key_env": "KEY", "context_tokens": None, "tokenizer": "folder"}
    assert redacted_settings(settings) == settings
