"""The processes of a distributed run, as far as a reward needs them.

TRL gives each process a slice of the rollouts, and a group may lie across two slices. The objects exchanged here are
Python ones, so a process group of their own on gloo carries them: it needs no device, and cannot get in the way of
the trainer's own collectives, whatever thread calls. One process needs none of it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypeVar, cast

Told = TypeVar("Told")

PATIENCE = timedelta(hours=24)
"""A process waits for the judge of another, which has deadlines of its own; one that died is noticed at once."""


class Ranks:
    """This process among those of the run; alone until `join` finds a distributed run."""

    def __init__(self) -> None:
        self.rank = 0
        self.count = 1
        self._group: Any = None
        self._joined = False

    def join(self) -> None:
        """Meet the others; idempotent. Every process must come here equally often, in the same order."""
        if self._joined:
            return
        self._joined = True
        try:
            import torch.distributed as distributed
        except ImportError:
            return
        if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
            self._group = distributed.new_group(backend="gloo", timeout=PATIENCE)
            self.rank, self.count = distributed.get_rank(), distributed.get_world_size()

    def tell(self, mine: Told) -> list[Told]:
        """What every process told, in the order of their ranks. All of them must call it.

        Raises:
            RuntimeError: a process is gone.
        """
        if self.count == 1:
            return [mine]
        import torch.distributed as distributed

        told: list[Told | None] = [None] * self.count
        distributed.all_gather_object(told, mine, group=self._group)
        return cast("list[Told]", told)
