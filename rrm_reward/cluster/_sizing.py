"""Does it fit, and how long does judging a step take? Arithmetic only; every assumption has a name here.

Memory is counted for one GPU, in each of the three phases of a step, in bytes (GB is 10^9, as GPUs are sold):

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

from dataclasses import dataclass

GB = 1e9
USABLE = 0.90
"""Share of a GPU's memory that may be planned with; the rest is contexts, fragments and communication buffers."""

DECODE_EFFICIENCY = 0.5
"""Of the memory's bandwidth, while tokens are decoded."""

PREFILL_EFFICIENCY = 0.4
"""Of the dense bf16 rate, while prompts are read."""

STATE_BYTES = 12
"""A parameter's training state under FSDP: fp32 master weight (4) and Adam's two moments (8)."""

GRADIENT_BYTES = 4
REFERENCE_BYTES = 2
"""A parameter of the frozen reference policy (bf16)."""

FRAME_TOKENS = 700
"""Of the RRM prompt around query and responses, and the query itself."""

MOST_SEQUENCES = 256
"""Sequences that one engine decodes at once (vLLM's default ``max_num_seqs``)."""


@dataclass(frozen=True, slots=True)
class Chip:
    """A GPU's data sheet: memory in bytes, bandwidth in bytes/s, dense bf16 operations/s."""

    memory: float
    bandwidth: float
    flops: float


CHIPS = {
    "MI300X": Chip(192 * GB, 5.3e12, 1307e12),
    "MI325X": Chip(256 * GB, 6.0e12, 1307e12),
    "MI355X": Chip(288 * GB, 8.0e12, 2500e12),
    "A100": Chip(80 * GB, 2.04e12, 312e12),
    "H100": Chip(80 * GB, 3.35e12, 989e12),
    "H200": Chip(141 * GB, 4.8e12, 989e12),
    "B200": Chip(180 * GB, 8.0e12, 2250e12),
}
"""By name; the vendors' data sheets."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A dense Qwen2 model with grouped-query attention.

    Attributes:
        layers, hidden, heads, kv_heads, head_dim, intermediate, vocabulary: as in its config.json.
        tied: whether input and output embeddings are one matrix.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    tied: bool = False

    @property
    def parameters(self) -> int:
        """Their number, biases and norms included."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = self.hidden * queries + queries + 2 * (self.hidden * keys + keys) + queries * self.hidden
        layer = attention + 3 * self.hidden * self.intermediate + 2 * self.hidden
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return embeddings + self.layers * layer + self.hidden

    @property
    def weight_bytes(self) -> int:
        """Of the model in bf16."""
        return 2 * self.parameters

    @property
    def kv_bytes(self) -> int:
        """Of one token's keys and values in bf16."""
        return 2 * self.layers * self.kv_heads * self.head_dim * 2


SHAPES = {
    "1.5B": Shape(28, 1536, 12, 2, 128, 8960, 151936, tied=True),
    "7B": Shape(28, 3584, 28, 4, 128, 18944, 152064),
    "14B": Shape(48, 5120, 40, 8, 128, 13824, 152064),
    "32B": Shape(64, 5120, 40, 8, 128, 27648, 152064),
}
"""R1-Distill-Qwen and the RRMs made from it (7B, 32B), from their config.json."""


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


def training_phases(policy: Shape, load: Load, gpus: int, chip: Chip, width: int) -> list[Phase]:
    """Rollout and training of the policy, FSDP over all GPUs, one rollout engine on `width` of them."""
    state = STATE_BYTES * policy.parameters / gpus
    sequences = load.rollouts * load.response_tokens
    rollout = {
        "training state": state,
        "policy weights": policy.weight_bytes / width,
        f"KV cache, {load.rollouts} x {load.response_tokens}": sequences * policy.kv_bytes / width,
    }
    # gradient checkpointing keeps one bf16 vector a layer and token; logits are held in bf16 and fp32
    activations = load.train_tokens * (2 * policy.layers * policy.hidden + 6 * policy.vocabulary)
    training = {
        "training state": state,
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
        **({"training state": beside} if beside else {}),
        "judge weights": judge.weight_bytes / width,
        f"KV cache, {load.rollouts} x {longest}": load.rollouts * longest * judge.kv_bytes / width,
    }
    return Phase("judging", parts, chip.memory)


def smallest_width(judge: Shape, load: Load, chip: Chip, gpus: int, beside: float) -> int:
    """GPUs of one judge replica: the smallest power of 2 that fits, or the largest there is."""
    width = 1
    while 2 * width <= min(gpus, 8) and not judging_phase(judge, load, chip, width, beside).fits:
        width *= 2
    return width


def sequences_at_once(judge: Shape, load: Load, chip: Chip, width: int, beside: float) -> int:
    """Mean calls that one replica's KV cache holds, `MOST_SEQUENCES` at most, at least 1."""
    room = width * (USABLE * chip.memory - beside) - judge.weight_bytes
    mean = load.prompt_tokens + load.thought_tokens
    return int(max(1, min(MOST_SEQUENCES, room // (mean * judge.kv_bytes))))


def decode_rate(judge: Shape, load: Load, chip: Chip, width: int, sequences: int) -> float:
    """Tokens/s of one replica, by the roofline on top of this module; half of a thought is there on average."""
    context = load.prompt_tokens + load.thought_tokens / 2
    read = judge.weight_bytes + sequences * context * judge.kv_bytes
    return float(sequences * width * chip.bandwidth * DECODE_EFFICIENCY / read)


def prefill_rate(judge: Shape, chip: Chip, width: int) -> float:
    """Tokens/s of one replica."""
    return width * chip.flops * PREFILL_EFFICIENCY / (2 * judge.parameters)
