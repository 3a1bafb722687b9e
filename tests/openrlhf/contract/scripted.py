"""OpenRLHF's own engine actor, without Ray and with a script in place of vLLM."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import openrlhf.trainer.ray.vllm_engine as vllm_engine
from vllm import SamplingParams
from vllm.outputs import CompletionOutput, RequestOutput

from rrm_reward.integrations.openrlhf.executor import RRMAgentExecutor

Said = str | Exception


class ScriptedLLM:
    """What vLLM's asynchronous engine is to OpenRLHF: each request gets the next thing to say.

    Args:
        tokenizer: of the policy.
        script: texts, or errors to raise, in the order of the requests.
        gates: request number to a coroutine that is awaited before it answers.
        truncated: numbers of requests that run into their limit.
    """

    def __init__(
        self,
        tokenizer: Any,
        script: Sequence[Said],
        gates: dict[int, Callable[[], Any]] | None = None,
        truncated: Sequence[int] = (),
    ) -> None:
        self.tokenizer, self.script = tokenizer, list(script)
        self.gates, self.truncated = gates or {}, set(truncated)
        self.asked = 0

    async def generate(self, prompt: Any, sampling_params: Any, request_id: str) -> Any:
        number, self.asked = self.asked, self.asked + 1
        await asyncio.sleep(0)
        if number in self.gates:
            await self.gates[number]()
        said = self.script[number]
        if isinstance(said, Exception):
            raise said
        tokens = self.tokenizer(said, add_special_tokens=False)["input_ids"]
        cut = number in self.truncated
        if not cut:
            tokens = [*tokens, self.tokenizer.eos_token_id]
        output = CompletionOutput(
            index=0,
            text=said,
            token_ids=tokens,
            cumulative_logprob=None,
            logprobs=None,
            finish_reason="length" if cut else "stop",
        )
        yield RequestOutput(request_id, None, prompt["prompt_token_ids"], None, [output], True)


def engine(executor: RRMAgentExecutor, llm: ScriptedLLM) -> Any:
    """An engine actor of OpenRLHF (``LLMRayActor`` up to 0.10, ``RolloutRayActor`` after) as a plain object."""
    actor = getattr(vllm_engine, "RolloutRayActor", None) or vllm_engine.LLMRayActor
    modified = actor.__ray_metadata__.modified_class
    plain = getattr(modified, "__ray_actor_class__", modified)
    made = plain.__new__(plain)
    made.executor, made.llm, made._mm_pad_token_ids = executor, llm, set()
    return made


async def roll_out(
    executor: RRMAgentExecutor,
    tokenizer: Any,
    script: Sequence[Said],
    *,
    prompt: str = "What is 2 plus 2?",
    label: Any = "",
    images: Any = None,
    max_tokens: int = 64,
    max_length: int = 256,
    logprobs: int | None = None,
    **settings: Any,
) -> list[dict[str, Any]]:
    """One call of ``generate_responses`` for as many samples as the script has texts."""
    made = engine(executor, ScriptedLLM(getattr(tokenizer, "inner", tokenizer), script, **settings))
    # as unpickled by Ray: an object of its own for each call
    sampling_params = SamplingParams(max_tokens=max_tokens, logprobs=logprobs)
    call = made.generate_responses(
        prompt=prompt,
        label=label,
        sampling_params=sampling_params,
        max_length=max_length,
        hf_tokenizer=tokenizer,
        num_samples=len(script),
        images=images,
    )
    return await asyncio.wait_for(call, 240)


def write_config(file: Path, url: str, rrm: str = "", openrlhf: str = "") -> Path:
    """A YAML for a judge at `url`; `rrm` and `openrlhf` are further lines of the two nodes."""
    file.write_text(
        f"rrm:\n  judge: {{urls: ['{url}'], model: RRM-7B, timeout: 120, retries: 0, reasks: 0}}\n  {rrm}\n"
        f"rrm_openrlhf: {{{openrlhf}}}\n"
    )
    return file
