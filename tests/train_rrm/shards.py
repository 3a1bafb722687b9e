"""The miniature's judge as the shards that verl writes: `python -m tests.train_rrm.shards FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from recipes.miniature.make_checkpoints import CHECKPOINTS


def write(folder: Path) -> None:
    """By verl's own checkpoint manager, of a model that is sharded over one process."""
    import torch.distributed
    from omegaconf import OmegaConf
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from verl.utils.checkpoint.fsdp_checkpoint_manager import FSDPCheckpointManager

    store = f"file://{folder}/store"
    torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    model = AutoModelForCausalLM.from_pretrained(CHECKPOINTS / "rrm")
    fully_shard(model, mesh=init_device_mesh("cpu", (1,), mesh_dim_names=("fsdp",)))
    manager = FSDPCheckpointManager(
        model,
        optimizer=None,
        lr_scheduler=None,
        processing_class=AutoTokenizer.from_pretrained(CHECKPOINTS / "rrm"),
        checkpoint_config=OmegaConf.create({"save_contents": ["model"], "load_contents": ["model"]}),
    )
    manager.save_checkpoint(str(folder / "actor"), global_step=1)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
