"""Base URLs: what is asked of whom, and what nobody gets to read."""

import base64

import pytest

from rrm_reward.errors import ConfigError
from rrm_reward.judge._endpoint import Endpoint


@pytest.mark.parametrize(
    ("url", "where", "target", "host"),
    [
        ("http://judge:8000/v1", ("judge", 8000, False), "/v1/models", "judge:8000"),
        ("http://judge/v1/", ("judge", 80, False), "/v1/models", "judge"),
        ("https://judge/v1", ("judge", 443, True), "/v1/models", "judge"),
        ("https://judge:443/v1", ("judge", 443, True), "/v1/models", "judge"),
        ("http://[::1]:8000/v1", ("::1", 8000, False), "/v1/models", "[::1]:8000"),
        ("http://a.b/team%20x/y z/v1", ("a.b", 80, False), "/team%20x/y%20z/v1/models", "a.b"),
        ("https://a/v1?version=2&x=é", ("a", 443, True), "/v1/models?version=2&x=%C3%A9", "a"),
        (
            "http://bücher.example/v1",
            ("xn--bcher-kva.example", 80, False),
            "/v1/models",
            "xn--bcher-kva.example",
        ),
    ],
)
def test_a_url_says_whom_to_ask_for_what(
    url: str, where: tuple[str, int, bool], target: str, host: str
) -> None:
    endpoint = Endpoint.parse(url)
    assert (endpoint.host, endpoint.port, endpoint.tls) == where
    lines = endpoint.request("GET", "/models").decode().split("\r\n")
    assert lines[0] == f"GET {target} HTTP/1.1"
    assert f"Host: {host}" in lines
    assert lines[-2:] == ["", ""]


def test_credentials_of_a_url_are_sent_and_win_over_a_key() -> None:
    endpoint = Endpoint.parse("http://me%40x:p%3Aw@judge/v1", api_key="sk-key")
    pair = base64.b64encode(b"me@x:p:w").decode()
    assert f"Authorization: Basic {pair}".encode() in endpoint.headers
    assert b"sk-key" not in endpoint.headers
    assert endpoint.authorized


def test_a_key_is_a_bearer_token_without_the_line_end_of_its_file() -> None:
    assert (
        b"Authorization: Bearer sk-key\r\n" in Endpoint.parse("http://judge/v1", api_key="sk-key\n").headers
    )
    assert not Endpoint.parse("http://judge/v1", api_key=" ").authorized


def test_a_key_that_no_header_can_carry_is_refused_and_not_told() -> None:
    with pytest.raises(ConfigError, match="no HTTP header can carry") as caught:
        Endpoint.parse("http://judge/v1", api_key="sk\r\nX-Evil: 1")
    assert caught.value.key == "judge.api_key_env"
    assert "Evil" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://judge:port/v1", "http://u:secret@:8000/v1", "http://[::1/v1", "ftp://u:secret@x/v1"]
)
def test_what_is_no_url_is_refused_without_its_credentials(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Endpoint.parse(url)
    assert caught.value.key == "judge.urls"
    assert "secret" not in str(caught.value)
