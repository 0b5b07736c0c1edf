"""What processes that train together do in common."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_diag.callbacks.collector import Reduce

SHARDING = ("FSDP", "DeepSpeed", "ModelParallel")
"""Strategies that cut the weights up: reading them, and a forward, is collective."""


def shards_weights(trainer: Any) -> bool:
    """Whether no process holds the whole weights."""
    return any(word in type(trainer.strategy).__name__ for word in SHARDING)


def allows_empty_loaders(trainer: Any) -> bool:
    """Whether the user allows processes without batches."""
    owners = (trainer.lightning_module, trainer.datamodule)
    return any(getattr(o, "allow_zero_length_dataloader_with_multiple_devices", False) for o in owners)


def reductions(trainer: Any) -> tuple[Reduce, Reduce]:
    """Sum and maximum over the ranks that see different data, where there are several."""
    mesh = getattr(trainer.strategy, "device_mesh", None)  # tensor parallel ranks share their batches
    group = None if mesh is None else mesh["data_parallel"].get_group()

    def over_ranks(operation: Any) -> Reduce:
        def reduce(vector: Tensor) -> Tensor:
            vector = vector.to(trainer.strategy.root_device)
            torch.distributed.all_reduce(vector, op=operation, group=group)
            return vector

        return reduce

    return over_ranks(torch.distributed.ReduceOp.SUM), over_ranks(torch.distributed.ReduceOp.MAX)
