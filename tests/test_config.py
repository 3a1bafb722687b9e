"""A wrong setting is refused at once, with its key, its value and the fix."""

import pytest

from rrm_reward.build import build_arena
from rrm_reward.config import load
from rrm_reward.errors import ConfigError

JUDGE = ["judge.urls=[http://127.0.0.1:1/v1]", "judge.model=RRM-7B"]


@pytest.mark.parametrize(
    ("override", "key", "fix"),
    [
        ("judge.vote=3", "judge.vote", "did you mean judge.votes?"),
        ("judg.votes=3", "judg", "did you mean judge?"),
        ("xyz=1", "xyz", "known keys: seed, judge"),
        ("judge.votes=many", "judge.votes", "could not be converted"),
        ("judge.votes=0", "judge.votes", "at least 1"),
        ("judge.order=alphabetic", "judge.order", "balanced, random, both"),
        ("judge.urls=[]", "judge.urls", "at least one base URL"),
        ("judge.urls=[http://host:8000]", "judge.urls", "must end in /v1: http://host:8000/v1"),
        ("judge.urls=[host/v1]", "judge.urls", "must start with http"),
        ("judge.model=''", "judge.model", "name the judge"),
        ("judge.top_p=0", "judge.top_p", "(0, 1]"),
        ("judge.timeout=0", "judge.timeout", "positive"),
        ("judge.timeout=.inf", "judge.timeout", "finite"),
        ("judge.temperature=.inf", "judge.temperature", "finite"),
        ("judge.temperature=[a", "config", "cannot be read as YAML"),
        ("judge.model=${oc.env:NOT_THERE}", "judge.model", "NOT_THERE"),
        ("seed=-1", "seed", "at least 0"),
        ("judge.context_tokens=4096", "judge.max_tokens", "no room for a prompt"),
        ("arena.concurrency=0", "arena.concurrency", "at least 1"),
        ("tournament.name=chess", "tournament.name", "round_robin"),
        ("tournament.options.kk=1", "tournament.options.kk", ""),
        ("rating.name=fide", "rating.name", "elo"),
        ("reward.scale=loud", "reward.scale", "natural"),
        ("novalue", "override", "key=value"),
    ],
)
def test_a_wrong_setting_is_named_with_its_fix(override, key, fix):
    with pytest.raises(ConfigError) as caught:
        build_arena(load(overrides=[*JUDGE, override]))
    assert caught.value.key == key
    assert fix in caught.value.fix


def test_an_error_crosses_processes_whole():
    import pickle

    error = pickle.loads(pickle.dumps(ConfigError("judge.votes", 0, "must be at least 1")))
    assert (error.key, error.value, error.fix) == ("judge.votes", 0, "must be at least 1")


def test_greedy_votes_are_refused():
    with pytest.raises(ConfigError, match=r"raise judge\.temperature"):
        load(overrides=[*JUDGE, "judge.votes=3", "judge.temperature=0"])


def test_later_sources_win_and_untouched_keys_keep_their_defaults(tmp_path):
    file = tmp_path / "rrm.yaml"
    file.write_text(
        "judge: {model: from-file, urls: ['http://a/v1'], votes: 3}\ntournament: {name: knockout}\n"
    )
    config = load(file, overrides=["judge.votes=5"], tree={"tournament": {"name": "swiss"}})
    assert (config.judge.model, config.judge.votes) == ("from-file", 5)
    assert config.tournament.name == "swiss"
    assert config.judge.temperature == 0.6


@pytest.mark.parametrize("content", [b"judge: [a", b"\xff\xfe\x00", b"- a list"])
def test_a_file_that_is_no_mapping_in_yaml_is_named(tmp_path, content):
    path = tmp_path / "rrm.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"rrm\.yaml"):
        load(path, JUDGE)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "absent.yaml")


def test_a_trainer_node_with_interpolations_is_resolved():
    from omegaconf import OmegaConf

    tree = OmegaConf.create(
        {"n": 8, "rrm": {"judge": {"model": "m", "urls": ["http://a/v1"]}, "seed": "${n}"}}
    )
    assert load(tree=tree.rrm).seed == 8


def test_every_setting_has_its_line_of_help():
    from dataclasses import fields, is_dataclass

    from rrm_reward.config import RRMConfig

    def look(schema, path):
        for part in fields(schema):
            if is_dataclass(part.default_factory):
                look(part.default_factory, f"{path}{part.name}.")
            else:
                assert part.metadata.get("help"), f"{path}{part.name}"

    look(RRMConfig, "")
