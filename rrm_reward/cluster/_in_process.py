"""Any backend as the engine of a replica; the transformers one by name.

For small judges, and for machines without vLLM: requests that arrive together share a batch, as in
`TransformersBackend` itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from rrm_reward.cluster._engine import EngineSpec
from rrm_reward.judge import Backend, Completion, ContinuingBackend, Message, Sampling


class BackendEngine:
    """An `Engine` around a backend.

    Args:
        backend: started and closed with the engine.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @property
    def context_tokens(self) -> int | None:
        """See `Engine.context_tokens`."""
        tokens: int | None = getattr(self._backend, "context_tokens", None)
        return tokens

    async def start(self) -> None:
        """See `Engine.start`."""
        await self._backend.start()

    async def prompt(self, messages: Sequence[Message]) -> Sequence[Message]:
        """See `Engine.prompt`: the messages as they are."""
        return messages

    async def vote(
        self, prompt: Sequence[Message], sampling: Sampling, request: str, progress: Callable[[], None]
    ) -> Completion:
        """See `Engine.vote`."""
        (completion,) = await self._backend.complete(prompt, 1, sampling)
        progress()
        return completion

    async def prepare(self, endings: Sequence[str]) -> str | None:
        """See `ContinuingEngine.prepare`."""
        prepare = getattr(self._backend, "prepare", None)
        if prepare is None:
            return f"{type(self._backend).__name__} cannot do it; leave it at none"
        await prepare(endings)
        return None

    async def next_token(self, completion: Completion, ending: str, request: str) -> Mapping[str, float]:
        """See `ContinuingEngine.next_token`."""
        return await cast(ContinuingBackend, self._backend).next_token(completion, ending)

    async def failure(self) -> str | None:
        """See `Engine.failure`: a backend in this process lives as long as the process."""
        return None

    def sleepless(self) -> str | None:
        """See `Engine.sleepless`."""
        return "only vLLM gives its memory back; this engine holds it until it ends"

    async def sleep(self, level: int) -> None:
        """See `Engine.sleep`; never asked for, since `sleepless` says why not."""
        raise NotImplementedError(self.sleepless())

    async def wake(self) -> None:
        """See `Engine.wake`: it never slept."""

    async def is_sleeping(self) -> bool:
        """See `Engine.is_sleeping`."""
        return False

    async def aclose(self) -> None:
        """See `Engine.aclose`."""
        await self._backend.aclose()


def transformers_engine(spec: EngineSpec) -> BackendEngine:
    """A transformers model of this spec; ``engine_args`` go to `TransformersBackend`."""
    from rrm_reward.judge._transformers import TransformersBackend

    backend = TransformersBackend(
        spec.model,
        tokenizer=spec.tokenizer,
        context_tokens=spec.context_tokens,
        **{"device": None if spec.gpus else "cpu", **spec.arguments},
    )
    return BackendEngine(backend)
