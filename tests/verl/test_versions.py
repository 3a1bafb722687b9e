"""A verl that cannot work is refused at import, with what to do instead."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from rrm_reward.integrations.verl import _version


def test_importing_the_package_imports_no_trainer_and_no_ray() -> None:
    code = (
        "import sys, rrm_reward.integrations, rrm_reward.integrations.verl; "
        "assert not {'verl', 'ray', 'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("found", ["0.7.1", "0.3.0.post1"])
def test_an_old_verl_is_refused(monkeypatch: pytest.MonkeyPatch, found: str) -> None:
    monkeypatch.setattr(_version, "version", lambda name: found)
    with pytest.raises(ImportError, match=rf"verl {found} .* upgrade verl"):
        _version.require_verl()


def test_a_verl_that_was_never_tried_is_let_through_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_version, "version", lambda name: "0.10.0")
    assert _version.require_verl() == "0.10.0"
    assert "never tried" in caplog.text


def test_a_changed_private_method_is_named_with_the_way_around_it() -> None:
    from rrm_reward.integrations.verl.agent_loop import check_signatures

    class Changed:
        async def _run_prompt(self, prompt: Any, sampling_params: Any) -> None: ...

    with pytest.raises(ImportError, match=r"Changed\._run_prompt.*use the reward manager"):
        check_signatures(Changed)
