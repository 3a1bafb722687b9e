"""Lets the unmodified OpenRLHF 0.11.2 run on a machine without GPUs. For tests only.

Python imports a module of this name at start-up, in every process whose ``PYTHONPATH`` holds this folder, so in the
trainer, in Ray's workers and in vLLM's. It does nothing unless ``RRM_TEST_OPENRLHF_ON_CPU`` is set.

OpenRLHF writes ``torch.cuda`` where it means "the device". So the source of each of its modules is read with a few
phrases replaced (`PHRASES`), as it is imported; files stay as they are, no other package is touched, and no compiled
file is written or read. Some things need more than a phrase (`ADDITIONS`):

- weights go from the trainer to vLLM by NCCL; here the same group sends them as objects over its TCP store;
- vLLM's CPU build packs linear weights for oneDNN when a model is loaded and drops the plain ones, so that weights
  cannot be loaded again; here it keeps them plain;
- DeepSpeed would compile an Adam and an all-reduce for CPUs, two minutes each; here it takes PyTorch's.

What stays as users run it: the command line, all of the trainer's logic, Ray's actors, DeepSpeed's engine, vLLM's
engine, and how executors are loaded and called.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Sequence
from types import CodeType, ModuleType

PHRASES = (
    ('f"cuda:{torch.cuda.current_device()}"', '"cpu"'),
    ("torch.cuda.current_device()", '"cpu"'),
    ("torch.cuda.current_stream()", "None"),
    ("torch.cuda.synchronize()", "None"),
    ("torch.cuda.empty_cache()", "None"),
    ("torch.cuda.set_device(local_rank)", "None"),
    ('device="cuda"', 'device="cpu"'),
    ('init_device_mesh(\n            "cuda"', 'init_device_mesh(\n            "cpu"'),
    (
        'ds_config["optimizer"] = optim_config',
        'ds_config["optimizer"] = {**optim_config, "params": {**optim_config["params"], "torch_adam": True}}',
    ),
)

ADDITIONS = {
    "openrlhf.utils.deepspeed.deepspeed": """
import sys

import deepspeed.comm.torch

# by its name: the attribute deepspeed.comm.torch is PyTorch
sys.modules["deepspeed.comm.torch"].build_shm_op = lambda: None
""",
    "openrlhf.utils.distributed_util": """
def stateless_init_process_group(master_address, master_port, rank, world_size, device):
    from vllm.distributed.utils import StatelessProcessGroup

    group = StatelessProcessGroup.create(host=master_address, port=master_port, rank=rank, world_size=world_size)

    class OverTheStore:
        def broadcast(self, tensor, src, stream=None):
            sent = group.broadcast_obj(tensor.detach() if rank == src else None, src)
            if rank != src:
                tensor.copy_(sent)

    return OverTheStore()
""",
    "openrlhf.trainer.ray.vllm_worker_wrap": """
def _plain_weights():
    import torch
    import vllm.model_executor.layers.linear
    import vllm.model_executor.layers.utils
    import vllm.model_executor.layers.vocab_parallel_embedding

    def keep_weight(layer, remove_weight):
        layer.cpu_linear = torch.nn.functional.linear

    for name in ("utils", "linear", "vocab_parallel_embedding"):
        module = getattr(vllm.model_executor.layers, name)
        if hasattr(module, "dispatch_cpu_unquantized_gemm"):
            module.dispatch_cpu_unquantized_gemm = keep_weight


_plain_weights()
""",
}


class OnCPU(importlib.machinery.SourceFileLoader):
    """Compiles a module of OpenRLHF from its changed source."""

    def get_code(self, fullname: str) -> CodeType:
        """The code object; never from or into a compiled file."""
        source = self.get_data(self.path).decode()
        for gpu, cpu in PHRASES:
            source = source.replace(gpu, cpu)
        source += ADDITIONS.get(fullname, "")
        return compile(source, self.path, "exec", dont_inherit=True)


class Finder(importlib.abc.MetaPathFinder):
    """Finds what Python would find, and has `OnCPU` load it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of a module of OpenRLHF, None for all others."""
        if not fullname.startswith("openrlhf."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and spec.origin is not None and spec.origin.endswith(".py"):
            spec.loader = OnCPU(fullname, spec.origin)
        return spec


if os.environ.get("RRM_TEST_OPENRLHF_ON_CPU"):
    sys.meta_path.insert(0, Finder())
