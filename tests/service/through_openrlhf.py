"""In OpenRLHF's environment: rolls out scripted responses with OpenRLHF's own executor and its remote reward.

Reads ``{"url", "groups": [[prompt, [response, ...]], ...]}`` from standard input, and writes for every group the list
of ``[reward, score, extra_logs]`` that the trainer would get.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from openrlhf.utils.agent import SingleTurnAgentExecutor
from transformers import AutoTokenizer

from tests.openrlhf.assets import make_tokenizer
from tests.openrlhf.contract.scripted import roll_out


async def judge(url: str, groups: list[tuple[str, list[str]]], folder: Path) -> list[list[Any]]:
    make_tokenizer(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    executor: Any = SingleTurnAgentExecutor([url])
    outputs = await asyncio.gather(
        *(roll_out(executor, tokenizer, texts, prompt=prompt, max_length=10_000) for prompt, texts in groups)
    )
    return [[[one["reward"], one["scores"], one["extra_logs"]] for one in group] for group in outputs]


def main() -> None:
    told = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(asyncio.run(judge(told["url"], told["groups"], Path(folder)))))


if __name__ == "__main__":
    main()
