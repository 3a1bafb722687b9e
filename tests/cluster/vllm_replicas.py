"""Two replicas of the miniature RRM in real vLLM engines on the CPU; prints what happened as one line of JSON.

A program, because it runs in another environment than the tests: ``.venv-openrlhf/bin/python -m
tests.cluster.vllm_replicas``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from recipes.miniature.task import all_queries, make_pair, slip
from rrm_reward.cluster import JudgeGroup
from rrm_reward.cluster._guard import MARK
from rrm_reward.config import JudgeConfig, load
from rrm_reward.errors import ConfigError
from rrm_reward.judge import Judge, Sampling, build_messages

RRM = Path(__file__).parents[2] / "recipes/miniature/checkpoints/rrm"
PAIRS = 64


def config(*settings: str) -> JudgeConfig:
    return load(
        overrides=[
            "judge.backend=ray",
            f"judge.model={RRM}",
            f"judge.tokenizer={RRM}",
            "judge.max_tokens=64",
            "judge.context_tokens=4096",
            "judge.timeout=300",
            "judge.cluster.gpus=0",
            "judge.cluster.start_timeout=400",
            "judge.cluster.hang_timeout=300",
            "judge.cluster.engine_args={dtype:float32,enforce_eager:true,max_num_batched_tokens:8192}",
            *settings,
        ]
    ).judge


def descendants() -> dict[int, str]:
    """Processes of engines that bear a replica's mark, with their marks."""
    found = {}
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            for variable in (folder / "environ").read_bytes().split(b"\0"):
                if folder.name.isdigit() and variable.startswith(f"{MARK}=".encode()):
                    found[int(folder.name)] = variable.decode()
    return found


def parent(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("PPid:")[2].split()[0])


async def until(condition: Callable[[], Any], seconds: float = 300.0) -> bool:
    for _ in range(int(seconds / 0.1)):
        if condition():
            return True
        await asyncio.sleep(0.1)
    return False


async def replica_that_is_killed(found: dict[str, Any]) -> None:
    judge_config = config("judge.cluster.replicas=2")
    group = JudgeGroup.from_config(judge_config)
    judge = Judge.from_config(judge_config, group)
    await judge.start()
    found["context_tokens"] = group.context_tokens
    rng = random.Random(0)
    queries = rng.choices(all_queries(held_out=True), k=PAIRS)
    pairs = [make_pair(query, slip(query, rng), rng) for query in queries]
    before = descendants()
    found["engines"] = len(set(before.values()))
    calls = [asyncio.create_task(judge.compare(pair.query, pair.first, pair.second)) for pair in pairs]
    await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    victim = min(before)
    mark = before[victim]
    while parent(victim) in before:
        victim = parent(victim)
    os.kill(parent(victim), signal.SIGKILL)
    judgments = await asyncio.gather(*calls)
    found["judged"] = sum(judgment.p is not None for judgment in judgments)
    found["votes"] = dict(Counter(len(judgment.votes) for judgment in judgments))
    found["right"] = sum(
        judgment.p is not None and (judgment.p > 0.5) == (pair.better == 1)
        for judgment, pair in zip(judgments, pairs, strict=True)
    )
    found["engine_of_the_dead_ended"] = await until(lambda: mark not in descendants().values())
    found["back"] = await until(lambda: all(member.present for member in group.replicas))
    messages = build_messages(pairs[0].query, pairs[0].first, pairs[0].second)
    async with aclosing(group.stream(messages, 8, Sampling(max_tokens=64))) as votes:
        async for _ in votes:
            break
    keepers = list(group._keepers.values())
    pending = 1
    for _ in range(100):
        pending = sum([(await keeper._handle.health.remote()).pending for keeper in keepers])
        if not pending:
            break
        await asyncio.sleep(0.1)
    found["pending_after_leaving"] = pending
    found["losses"] = group.snapshot()["losses"]
    await judge.aclose()
    found["engines_after_closing"] = 0 if await until(lambda: not descendants()) else len(descendants())


async def replica_that_is_killed_while_it_loads(found: dict[str, Any]) -> None:
    group = JudgeGroup.from_config(config())
    starting = asyncio.create_task(group.start())
    await until(descendants)
    child = min(descendants())
    os.kill(parent(child), signal.SIGKILL)
    found["engine_that_loaded_ended"] = await until(lambda: child not in descendants())
    starting.cancel()
    await asyncio.wait([starting])
    await group.aclose()


async def main() -> None:
    import ray

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, _temp_dir=os.environ["RAY_TMPDIR"])
    found: dict[str, Any] = {}
    try:
        await JudgeGroup.from_config(config("judge.cluster.sleep=1")).start()
    except ConfigError as error:
        found["sleep"] = str(error)
    await replica_that_is_killed(found)
    await replica_that_is_killed_while_it_loads(found)
    ray.shutdown()
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main())
