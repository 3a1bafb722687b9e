"""verl 0.8 on a CPU. It finds the device "cpu" by itself, but three places know only GPUs and NPUs.

None of the three is a setting, so one attribute of each is replaced:

- engines are registered for "cuda" and "npu": the "cuda" engine (FSDP) runs on a CPU as it is;
- padding comes from flash-attn, a CUDA wheel: transformers has the same functions in plain torch;
- Ray is asked for a resource named after the device, "cpu": `launch` gives the cluster one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def install() -> None:
    """Replace the three attributes in this process."""
    import verl.utils.attention_utils as attention
    from verl.workers.engine.base import EngineRegistry

    def engine_class(cls: Any, model_type: str, backend: str) -> type:
        engines = cls._engines[model_type][backend]
        return engines.get("cpu") or engines["cuda"]

    EngineRegistry.get_engine_cls = classmethod(engine_class)
    attention._get_attention_functions = _padding_in_torch


def _padding_in_torch() -> tuple[Callable[..., Any], ...]:
    from einops import rearrange
    from transformers.modeling_flash_attention_utils import _index_first_axis, _pad_input, _unpad_input

    return _index_first_axis, _pad_input, rearrange, _unpad_input
