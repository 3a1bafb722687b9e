"""One YAML, found where it should be, and every mistake in it named by its key."""

from __future__ import annotations

from pathlib import Path

import pytest

from rrm_reward.errors import ConfigError
from rrm_reward.integrations.openrlhf._settings import find_config, read_settings

JUDGE = "rrm: {judge: {urls: ['http://127.0.0.1:1/v1'], model: RRM-7B}"


def settings_of(folder: Path, text: str) -> Path:
    file = folder / "rrm.yaml"
    file.write_text(text)
    return file


def test_the_variable_comes_before_the_file_beside_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, named = tmp_path / "beside.yaml", tmp_path / "named.yaml"
    beside.touch()
    named.touch()
    monkeypatch.delenv("RRM_CONFIG", raising=False)
    assert find_config(beside) == beside
    monkeypatch.setenv("RRM_CONFIG", str(named))
    assert find_config(beside) == find_config() == named


@pytest.mark.parametrize(
    ("variable", "beside", "message"),
    [
        (None, None, "runtime-env-json"),
        (None, "/no/such/rrm.yaml", "put it there"),
        ("/no/such/rrm.yaml", None, "every node"),
    ],
)
def test_settings_that_are_nowhere_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, beside: str | None, message: str
) -> None:
    monkeypatch.delenv("RRM_CONFIG", raising=False)
    if variable is not None:
        monkeypatch.setenv("RRM_CONFIG", variable)
    with pytest.raises(ConfigError, match=message):
        find_config(beside)


def test_each_engine_has_its_part_of_the_judge_and_a_run_log_of_its_own(tmp_path: Path) -> None:
    text = JUDGE + ", arena: {concurrency: 100}, log: {path: /logs/run.sqlite}}\nrrm_openrlhf: {engines: 8}"
    rrm = read_settings(settings_of(tmp_path, text)).rrm
    assert rrm.arena.concurrency == 12
    assert rrm.log.path is not None
    assert Path(rrm.log.path).parent == Path("/logs")
    assert Path(rrm.log.path).suffix == ".sqlite"
    assert rrm.log.path != "/logs/run.sqlite"


def test_the_environment_may_name_the_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_URL", "http://judge:8000/v1")
    file = settings_of(tmp_path, "rrm: {judge: {urls: ['${oc.env:JUDGE_URL}'], model: RRM-7B}}")
    assert read_settings(file).rrm.judge.urls == ["http://judge:8000/v1"]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("", "rrm"),
        ("- a list", "rrm"),
        ("judge: {model: RRM-7B}", "rrm"),
        ("rrm: {: }", "config"),
        (JUDGE + "}\nrrm_verl: {}", "rrm_verl"),
        (JUDGE + ", reward: {clip: 10}}", "rrm.reward.clip"),
        (JUDGE + "}\nrrm_openrlhf: {labels: query}", "rrm_openrlhf.labels"),
        (JUDGE + "}\nrrm_openrlhf: {label: answer}", "rrm_openrlhf.label"),
        (JUDGE + "}\nrrm_openrlhf: {engines: 0}", "rrm_openrlhf.engines"),
        (JUDGE + "}\nrrm_openrlhf: {engines: many}", "rrm_openrlhf"),
    ],
)
def test_a_mistake_is_named_by_its_key(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings(settings_of(tmp_path, text))
    assert caught.value.key == key
