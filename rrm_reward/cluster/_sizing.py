"""Does it fit, and how long does judging a step take? Arithmetic only; every assumption has a name here.

Memory is counted for one GPU, in each of the three phases of a step, in bytes:

    rollout   the policy's training state · its bf16 weights and KV cache for inference
    judging   the policy's training state · the judge's weights and KV cache
    training  the policy's training state, gradients, reference and activations

What sleeps in a phase takes no memory of the GPU; the weights of a judge at sleep level 1 take the host's. A judge with
GPUs of its own is counted there, and is asleep nowhere.

Time is a roofline: decoding reads the weights and all KV caches once a token step, prefilling multiplies every weight
once a token, both at a share of what the data sheet promises (`DECODE_EFFICIENCY`, `PREFILL_EFFICIENCY`). Measure
tokens/s on your machine and give it instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rrm_reward.cluster._shapes import GIB, Chip, Shape

USABLE = 0.90
"""Share of a GPU's memory that may be planned with; the rest is contexts, fragments and communication buffers."""

DECODE_EFFICIENCY = 0.5
"""Of the memory's bandwidth, while tokens are decoded."""

PREFILL_EFFICIENCY = 0.4
"""Of the dense bf16 rate, while prompts are read."""

ENGINE_BYTES = 2 * GIB
"""Of a GPU for an inference engine's activations and graphs, beside weights and KV cache."""

STATE_BYTES = 12
"""A parameter's training state under FSDP: fp32 master weight (4) and Adam's two moments (8)."""

GRADIENT_BYTES = 4
REFERENCE_BYTES = 2
"""A parameter of the frozen reference policy (bf16)."""

FRAME_TOKENS = 700
"""Of the RRM prompt around query and responses, and the query itself."""

STATE = "training state"
"""Name of the part that no engine holds."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a step is.

    Attributes:
        prompts, rollouts: groups of a step and members of a group.
        response_tokens: the longest response.
        shown_tokens: of a response that the judge sees (the final answer).
        thought_tokens: a judge's mean completion.
        judge_tokens: its longest completion.
        train_tokens: in one forward pass on one GPU (``ppo_max_token_len_per_gpu``).
        calls: judge calls of a step.
        reference: whether a frozen reference policy is held (a KL loss).
    """

    prompts: int
    rollouts: int
    response_tokens: int
    shown_tokens: int
    thought_tokens: int
    judge_tokens: int
    train_tokens: int
    calls: int
    reference: bool = True

    @property
    def prompt_tokens(self) -> int:
        """Of one call of the judge."""
        return FRAME_TOKENS + 2 * self.shown_tokens


@dataclass(frozen=True, slots=True)
class Phase:
    """Memory of one GPU in one phase.

    Attributes:
        name: of the phase.
        parts: bytes by what holds them.
        memory: of the GPU.
    """

    name: str
    parts: dict[str, float]
    memory: float

    @property
    def total(self) -> float:
        """Bytes needed."""
        return sum(self.parts.values())

    @property
    def fits(self) -> bool:
        """Whether they are there."""
        return self.total <= USABLE * self.memory

    @property
    def utilization(self) -> tuple[float, float]:
        """The least and the most that the phase's engine may be given as vLLM's ``gpu_memory_utilization``.

        The least holds its parts, the most is what the training state leaves, both in steps of 0.01; the first is
        the larger one where nothing fits.
        """
        state = self.parts.get(STATE, 0.0)
        least = math.ceil(100 * (self.total - state) / self.memory - 1e-9)
        most = math.floor(100 * (USABLE - state / self.memory) + 1e-9)
        return least / 100, most / 100


def training_phases(policy: Shape, load: Load, gpus: int, chip: Chip, width: int) -> list[Phase]:
    """Rollout and training of the policy, FSDP over all GPUs, one rollout engine on `width` of them."""
    state = STATE_BYTES * policy.parameters / gpus
    sequences = load.rollouts * load.response_tokens
    rollout = {
        STATE: state,
        "policy weights": policy.weight_bytes / width,
        f"KV cache, {load.rollouts} x {load.response_tokens}": sequences * policy.kv_bytes / width,
        "engine": float(ENGINE_BYTES),
    }
    # gradient checkpointing keeps one bf16 vector a layer and token; logits are held in bf16 and fp32
    activations = load.train_tokens * (2 * policy.layers * policy.hidden + 6 * policy.vocabulary)
    training = {
        STATE: state,
        "gradients": GRADIENT_BYTES * policy.parameters / gpus,
        **({"reference": REFERENCE_BYTES * policy.parameters / gpus} if load.reference else {}),
        f"activations, {load.train_tokens} tokens": float(activations),
    }
    return [Phase("rollout", rollout, chip.memory), Phase("training", training, chip.memory)]


def judging_phase(judge: Shape, load: Load, chip: Chip, width: int, beside: float) -> Phase:
    """The judge on `width` GPUs, with room for a group of its longest calls at once.

    Args:
        judge: its shape.
        load: of a step.
        chip: the GPU.
        width: GPUs of one replica.
        beside: bytes on each GPU that do not sleep.
    """
    longest = load.prompt_tokens + load.judge_tokens
    parts = {
        **({STATE: beside} if beside else {}),
        "judge weights": judge.weight_bytes / width,
        f"KV cache, {load.rollouts} x {longest}": load.rollouts * longest * judge.kv_bytes / width,
        "engine": float(ENGINE_BYTES),
    }
    return Phase("judging", parts, chip.memory)


def sequences_at_once(judge: Shape, load: Load, chip: Chip, width: int, utilization: float) -> int:
    """Mean calls that one replica decodes at once: what its KV cache holds, vLLM's limit at most, at least 1.

    The engine takes the share `utilization` of each GPU (vLLM's ``gpu_memory_utilization``).
    """
    room = width * (utilization * chip.memory - ENGINE_BYTES) - judge.weight_bytes
    mean = load.prompt_tokens + load.thought_tokens
    return int(max(1, min(chip.sequences, room // (mean * judge.kv_bytes))))


def decode_rate(judge: Shape, load: Load, chip: Chip, width: int, sequences: int) -> float:
    """Tokens/s of one replica, by the roofline on top of this module; half of a thought is there on average."""
    context = load.prompt_tokens + load.thought_tokens / 2
    read = judge.weight_bytes + sequences * context * judge.kv_bytes
    return float(sequences * width * chip.bandwidth * DECODE_EFFICIENCY / read)


def prefill_rate(judge: Shape, chip: Chip, width: int) -> float:
    """Tokens/s of one replica."""
    return width * chip.flops * PREFILL_EFFICIENCY / (2 * judge.parameters)
