"""What data sheets say of GPUs, and ``config.json`` of models: the numbers that `_sizing` counts with."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 2**30
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Chip:
    """A GPU.

    Attributes:
        memory: bytes, as its driver reports them ("80 GB" are 79.6 GiB on an H100, "141 GB" 140.4 on an H200).
        bandwidth: of it, bytes/s; the data sheet's.
        flops: dense bf16 operations/s; the data sheet's.
        sequences: vLLM decodes at once at most (``max_num_seqs`` of ``vllm serve`` on this GPU).
    """

    memory: float
    bandwidth: float
    flops: float
    sequences: int = 1024


CHIPS = {
    "MI300X": Chip(196592 * _MIB, 5.3e12, 1307e12),
    "MI325X": Chip(262144 * _MIB, 6.0e12, 1307e12),
    "MI355X": Chip(294896 * _MIB, 8.0e12, 2500e12),
    "A100": Chip(81920 * _MIB, 2.04e12, 312e12, sequences=256),
    "H100": Chip(81559 * _MIB, 3.35e12, 989e12),
    "H200": Chip(143771 * _MIB, 4.8e12, 989e12),
    "B200": Chip(183359 * _MIB, 8.0e12, 2250e12),
}
"""By name. Memory as ``nvidia-smi`` and ``rocm-smi`` print it (MI325X: as sold); A100 and H100 are those of 80 GB."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A dense Qwen2 model with grouped-query attention.

    Attributes:
        layers, hidden, heads, kv_heads, head_dim, intermediate, vocabulary: as in its config.json.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int

    @property
    def parameters(self) -> int:
        """Their number, biases and norms included; input and output embeddings are two matrices."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = self.hidden * queries + queries + 2 * (self.hidden * keys + keys) + queries * self.hidden
        layer = attention + 3 * self.hidden * self.intermediate + 2 * self.hidden
        return 2 * self.vocabulary * self.hidden + self.layers * layer + self.hidden

    @property
    def weight_bytes(self) -> int:
        """Of the model in bf16."""
        return 2 * self.parameters

    @property
    def kv_bytes(self) -> int:
        """Of one token's keys and values in bf16."""
        return 2 * self.layers * self.kv_heads * self.head_dim * 2


SHAPES = {
    "1.5B": Shape(28, 1536, 12, 2, 128, 8960, 151936),
    "7B": Shape(28, 3584, 28, 4, 128, 18944, 152064),
    "14B": Shape(48, 5120, 40, 8, 128, 13824, 152064),
    "32B": Shape(64, 5120, 40, 8, 128, 27648, 152064),
}
"""R1-Distill-Qwen by size, from their config.json."""

MODELS = {
    **SHAPES,
    **{f"DeepSeek-R1-Distill-Qwen-{size}": shape for size, shape in SHAPES.items()},
    **{f"RRM-{size}": SHAPES[size] for size in ("7B", "32B")},
}
"""By size, or by name without the owner: the distilled models and the RRMs made from them. Other models of "7B" have
other shapes, and another number of key-value heads is another KV cache: none is guessed."""
