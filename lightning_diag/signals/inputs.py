"""The inputs in a batch of any form, and fingerprints of its samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

FEATURES = 1_024
"""Features of a sample that are looked at, evenly spaced. Two natural images that agree in 1,024 values are copies."""
_DEPTH, _LEAVES = 5, 64


def leaves(batch: Any, depth: int = _DEPTH) -> Iterator[Tensor]:
    """Tensors of a batch in order: tuples, lists, mappings, named tuples and dataclasses, nested."""
    if isinstance(batch, Tensor):
        yield batch
    elif depth and isinstance(batch, Mapping):
        for value in list(batch.values())[:_LEAVES]:
            yield from leaves(value, depth - 1)
    elif depth and isinstance(batch, Sequence) and not isinstance(batch, (str, bytes)):
        for value in batch[:_LEAVES]:
            yield from leaves(value, depth - 1)
    elif depth and is_dataclass(batch) and not isinstance(batch, type):
        for entry in fields(batch):
            yield from leaves(getattr(batch, entry.name, None), depth - 1)


def find_inputs(batch: Any, target: Tensor | None = None) -> Tensor | None:
    """The tensor that most likely holds the inputs.

    The first floating tensor with the target's number of samples and more than one value in all; else the first
    integer tensor with at least two axes (images as bytes, token ids). The target itself is left out.

    Args:
        batch: as the step gets it.
        target: what the loss compared the predictions with; None takes the first tensor's length.
    """
    found = [t for t in leaves(batch) if t.dim() and type(t.data) is Tensor and not t.is_sparse]
    if not found:
        return None
    samples = len(found[0]) if target is None or not target.dim() else len(target)
    candidates = [t for t in found if len(t) == samples and not _same(t, target)]
    if not candidates and target is not None:  # flattened targets: go by the first tensor of the batch
        return find_inputs(batch)
    floats = [t for t in candidates if t.is_floating_point()]
    wide = [t for t in candidates if t.dim() > 1 and not t.is_complex() and t.dtype is not torch.bool]
    return next(iter(floats), None) if floats else next(iter(wide), None)


def _same(tensor: Tensor, target: Tensor | None) -> bool:
    return target is not None and (
        tensor is target or (tensor.data_ptr() == target.data_ptr() and tensor.shape == target.shape)
    )


def features(inputs: Tensor, most: int = FEATURES) -> Tensor:
    """Evenly spaced features of each sample, (samples, at most ``most``); a view where the layout allows it."""
    flat = inputs.detach().reshape(len(inputs), -1)
    return flat[:, :: max(1, -(-flat.shape[1] // most))]


def fingerprints(sampled: Tensor, weights: Tensor) -> Tensor:
    """One int64 per sample that is equal for equal samples, whatever batch they come in.

    The bits of each feature are mixed, multiplied by an odd 32-bit weight and summed: integers, so that the order of
    summation does not matter. Two different samples agree with a probability of about 2**-36.

    Args:
        sampled: (samples, features), as :func:`features` gives it.
        weights: (features,) int32, see :func:`hash_weights`.
    """
    bits = sampled.float().contiguous().view(torch.int32) if sampled.is_floating_point() else _fold(sampled)
    # in place: new memory for each operation costs more than the operation
    mixed = (bits >> 15).bitwise_xor_(bits).mul_(weights)
    return mixed.bitwise_xor_(mixed >> 13).sum(1, dtype=torch.int64)


def _fold(whole: Tensor) -> Tensor:
    wide = whole.to(torch.int64)
    return (wide ^ (wide >> 32)).to(torch.int32) + 1


def hash_weights(size: int, device: torch.device) -> Tensor:
    """Odd 32-bit weights, the same in every process; the global random state is not touched."""
    generator = torch.Generator().manual_seed(0x5EED)
    weights = torch.randint(-(2**31), 2**31, (size,), generator=generator, dtype=torch.int64)
    return (weights | 1).to(torch.int32).to(device, non_blocking=True)
