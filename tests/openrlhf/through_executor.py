"""Groups of texts through OpenRLHF's engine actor and our executor, for tests in an environment without OpenRLHF.

    rewards_through_openrlhf(settings, [("What is 2 + 2?", ["4", "22", None])])    # [[1.0, -1.0, None]]

The other half of this module runs in OpenRLHF's environment: `main` reads the same as JSON from standard input.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.openrlhf.environment import PYTHON, ROOT, environment

Groups = Sequence[tuple[str, Sequence[str | None]]]


def rewards_through_openrlhf(
    settings: dict[str, Any], groups: Groups, openrlhf: dict[str, Any] | None = None
) -> list[list[float | None]]:
    """What OpenRLHF's trainer would get for every response, in order; None for what is filled with the group's mean.

    Args:
        settings: the tree `rrm`, for example ``{"judge": {"urls": [...], "model": "RRM-7B"}}``; the judge must be
            served outside this thread.
        groups: pairs of query and responses; None is a rollout that fails. Groups run at the same time.
        openrlhf: the node ``rrm_openrlhf``.
    """
    told = {"config": {"rrm": settings, "rrm_openrlhf": openrlhf or {}}, "groups": list(groups)}
    done = subprocess.run(
        [PYTHON, "-m", "tests.openrlhf.through_executor"],
        cwd=ROOT,
        env=environment(),
        input=json.dumps(told),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: list[list[float | None]] = json.loads(done.stdout.splitlines()[-1])
    return found


async def _judge(groups: Groups, folder: Path) -> list[list[float | None]]:
    from transformers import AutoTokenizer

    from rrm_reward.integrations.openrlhf.executor import RRMAgentExecutor
    from tests.openrlhf.assets import make_tokenizer
    from tests.openrlhf.contract.scripted import roll_out

    make_tokenizer(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    executor = RRMAgentExecutor()

    async def rewards(query: str, responses: Sequence[str | None]) -> list[float | None]:
        for text in responses:
            if text is not None:
                tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
                assert tokenizer.decode(tokens, skip_special_tokens=True) == text, text
        script = [RuntimeError("told to fail") if text is None else text for text in responses]
        outputs = await roll_out(executor, tokenizer, script, prompt=query, max_length=1_000_000)
        known = [output["extra_logs"]["rrm_known"] == 1.0 for output in outputs]
        return [output["reward"] if sure else None for output, sure in zip(outputs, known, strict=True)]

    found = await asyncio.gather(*(rewards(query, responses) for query, responses in groups))
    await executor.rewarder.aclose()
    return list(found)


def main() -> None:
    told = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "rrm.yaml"
        config.write_text(json.dumps(told["config"]))  # JSON is YAML
        os.environ["RRM_CONFIG"] = str(config)
        print(json.dumps(asyncio.run(_judge(told["groups"], Path(folder)))))


if __name__ == "__main__":
    main()
