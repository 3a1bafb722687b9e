"""What runs inside a replica: an engine, by its name.

An engine draws one vote at a time and knows nothing of Ray, of its siblings or of judging. vLLM is one, the
transformers backend another, and a function ``package.module:make_engine`` of your own, taking an `EngineSpec`, makes a
third.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from rrm_reward.config import JudgeConfig
from rrm_reward.errors import ConfigError
from rrm_reward.judge import Completion, Message, Sampling


class Declined(Exception):
    """The engine is well and will not do this request (a prompt that is too long): no other replica would."""


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """What an engine is to be.

    Attributes:
        model: folder or hub name.
        tokenizer: folder or hub name; None for the model's own.
        context_tokens: the context length; None takes the model's.
        gpus: of this replica, 0 for an engine on the CPU.
        tensor_parallel, data_parallel: GPUs a model copy is split over, and copies in this replica.
        share: of each GPU in (0, 1]; below 1 somebody else has the rest.
        bundles: of the placement group, one a GPU, where the replica does not hold its GPUs itself.
        sleep: level that will be asked for; 0 for an engine that never sleeps.
        arguments: further ones of the engine, as it takes them.
    """

    model: str
    tokenizer: str | None = None
    context_tokens: int | None = None
    gpus: int = 0
    tensor_parallel: int = 1
    data_parallel: int = 1
    share: float = 1.0
    bundles: tuple[int, ...] = ()
    sleep: int = 0
    arguments: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_config(cls, config: JudgeConfig) -> EngineSpec:
        """What a configuration asks for; where, and so the bundles, is not known yet."""
        cluster = config.cluster
        return cls(
            config.model,
            config.tokenizer,
            config.context_tokens,
            gpus=cluster.gpus_of_replica,
            tensor_parallel=cluster.tensor_parallel,
            data_parallel=cluster.data_parallel,
            share=cluster.share,
            sleep=cluster.sleep,
            arguments=dict(cluster.engine_args),
        )


class Engine(Protocol):
    """Draws votes. Every method runs in the event loop of its replica."""

    @property
    def context_tokens(self) -> int | None:
        """The context length; known after `start`."""
        ...

    async def start(self) -> None:
        """Load everything.

        Raises:
            ConfigError: what a setting can mend. Anything else (out of memory) is worth another try later.
        """
        ...

    async def prompt(self, messages: Sequence[Message]) -> Any:
        """Messages as `vote` takes them; made once for all votes of a request.

        Raises:
            Declined: no replica could answer this.
        """
        ...

    async def vote(
        self, prompt: Any, sampling: Sampling, request: str, progress: Callable[[], None]
    ) -> Completion:
        """One completion. Cancelling it frees what it holds in the engine.

        Args:
            prompt: of the method of that name.
            sampling: how it is drawn.
            request: a name that no other vote has.
            progress: called whenever tokens came; an engine that cannot tell calls it at the end.
        """
        ...

    async def failure(self) -> str | None:
        """Why the engine is dead; None while it is well."""
        ...

    def sleepless(self) -> str | None:
        """Why the engine cannot sleep on this platform; None if it can."""
        ...

    async def sleep(self, level: int) -> None:
        """Give the GPU's memory back: 1 keeps the weights in the CPU's memory, 2 drops them."""
        ...

    async def wake(self) -> None:
        """Take the memory again, weights included."""
        ...

    async def is_sleeping(self) -> bool:
        """Whether the memory is really given back. What `sleep` returns is no proof: on a CPU vLLM's does nothing."""
        ...

    async def aclose(self) -> None:
        """End it."""
        ...


class ContinuingEngine(Engine, Protocol):
    """An engine that can also look at what would come next: forced verdicts (``judge.force``) need one."""

    async def prepare(self, endings: Sequence[str]) -> str | None:
        """Why `next_token` cannot work with these endings; None if it can."""
        ...

    async def next_token(self, completion: Completion, ending: str, request: str) -> Mapping[str, float]:
        """See `rrm_reward.judge.ContinuingBackend.next_token`.

        Args:
            completion: of a continuable sampling, ended by its limit; perhaps written by a sibling of this engine.
            ending: one that was prepared.
            request: a name that no other request has.
        """
        ...


def _vllm(spec: EngineSpec) -> Engine:
    from rrm_reward.cluster._vllm import VLLMEngine

    return VLLMEngine(spec)


def _transformers(spec: EngineSpec) -> Engine:
    from rrm_reward.cluster._in_process import transformers_engine

    return transformers_engine(spec)


ENGINES: dict[str, Callable[[EngineSpec], Engine]] = {"vllm": _vllm, "transformers": _transformers}
"""What ``judge.cluster.engine`` takes its names from."""


def make_engine(name: str, spec: EngineSpec) -> Engine:
    """An engine by its name or by ``package.module:function``.

    Raises:
        ConfigError: there is none of that name.
    """
    if name in ENGINES:
        return ENGINES[name](spec)
    module, colon, function = name.partition(":")
    if not colon:
        fix = f"choose one of {', '.join(ENGINES)}, or write package.module:function"
        raise ConfigError("judge.cluster.engine", name, fix)
    try:
        maker = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            "judge.cluster.engine", name, f"cannot be imported in a replica ({error})"
        ) from error
    return cast(Engine, maker(spec))
