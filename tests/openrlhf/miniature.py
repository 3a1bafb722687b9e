"""The miniature of ``make demo`` as OpenRLHF takes it: its policy, lists to sort, and its judge in a real vLLM."""

from __future__ import annotations

import random
from pathlib import Path

from recipes.miniature.demo import CHECKPOINTS
from recipes.miniature.sampling import ask
from recipes.miniature.task import all_queries, right_answer
from tests.openrlhf.assets import Assets, write_rows


def miniature_assets(folder: Path, rows: int, evaluation_rows: int) -> Assets:
    """The policy sorts one list in three. Lists of the evaluation are held out, and their references are right."""
    assets = Assets(CHECKPOINTS / "base", folder / "prompts.jsonl", folder / "evaluation.jsonl")
    rng = random.Random(0)
    known = rng.sample(all_queries(held_out=False), rows)
    held_out = rng.sample(all_queries(held_out=True), evaluation_rows)
    write_rows(assets.prompts, [{"input": [*ask(query)], "label": ""} for query in known])
    write_rows(
        assets.evaluation, [{"input": [*ask(query)], "label": right_answer(query)} for query in held_out]
    )
    return assets


def miniature_judge(orders: Path, cluster: str, timeout: float) -> str:
    """Settings of the node ``rrm.judge``.

    Args:
        orders: folder in which the replica notes what happens to it; it sleeps on a CPU, as it is told.
        cluster: further settings of the node ``cluster``.
        timeout: seconds of a call.
    """
    orders.mkdir()
    engine = "engine: 'tests.support.drowsy_vllm:DrowsyVLLM'"
    arguments = f"orders: '{orders}', dtype: float32, enforce_eager: true, max_num_batched_tokens: 32768"
    model = f"model: '{CHECKPOINTS / 'rrm'}', max_tokens: 64, context_tokens: 4096, timeout: {timeout}"
    return f"backend: ray, {model}, cluster: {{{engine}, engine_args: {{{arguments}}}, {cluster}}}"
