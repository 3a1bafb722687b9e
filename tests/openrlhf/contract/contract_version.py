"""The contract is tested against the release that is meant, and others are refused."""

from __future__ import annotations

import os
from importlib.metadata import version

import pytest

from rrm_reward.integrations.openrlhf import _version


def test_this_is_the_release_that_the_run_is_for() -> None:
    assert version("openrlhf") == os.environ["RRM_TEST_OPENRLHF_VERSION"]
    assert _version.require_openrlhf() == version("openrlhf")


@pytest.mark.parametrize("found", ["0.9.10", "0.8.5"])
def test_an_old_openrlhf_is_refused_with_the_way_around_it(
    monkeypatch: pytest.MonkeyPatch, found: str
) -> None:
    monkeypatch.setattr(_version, "version", lambda name: found)
    with pytest.raises(ImportError, match=rf"OpenRLHF {found} .* upgrade OpenRLHF"):
        _version.require_openrlhf()


def test_one_that_was_never_tried_is_let_through_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_version, "version", lambda name: "0.12.0")
    assert _version.require_openrlhf() == "0.12.0"
    assert "never tried" in caplog.text
