"""What the host has to know of a tensor, fetched from any device in one transfer: some values, and sums over all bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SAMPLES = 1024
"""Values per tensor. Measured: 5 ms of CPU per 100 M parameters; a tensor that differs in 1 % of its values escapes all
1024 samples with probability 3e-5, and a reloaded tensor differs in all of them."""

RUN = 8
"""Neighbours sampled together: a memory map reads a page for each run, so few runs are cheap; 128 of them still miss a change of
5 % of the rows with a probability of 0.1 % only."""

_WHOLE: Mapping[int, torch.dtype] = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class Taken:
    """What was taken of a tensor, on the CPU.

    Attributes:
        samples: about ``count`` values, in the tensor's own dtype.
        sums: :func:`row_sums` of a tensor on another device; None for one on the CPU, which is compared directly, and for one
            whose samples are all it has.
    """

    samples: Tensor
    sums: Tensor | None = None


def sample_index(numel: int, count: int = SAMPLES, device: torch.device | None = None) -> Tensor:
    """Evenly spaced positions, :data:`RUN` neighbours each.

    The step is odd, so that positions do not all fall into one column of a matrix.
    """
    if numel <= count:
        return torch.arange(numel, device=device)
    starts = torch.arange(0, numel - RUN + 1, (numel * RUN // count) | 1, device=device)
    return (starts.unsqueeze(1) + torch.arange(RUN, device=device)).reshape(-1)


def take(state: Mapping[str, Tensor], count: int = SAMPLES, *, sums: bool = False) -> dict[str, Taken]:
    """Samples of every tensor, and sums over the rows of those on another device than the CPU.

    However many tensors there are, and of whatever dtypes, each device is waited for once.

    Args:
        state: tensors by name.
        count: values per tensor.
        sums: also sum the rows.
    """
    samples = {
        name: pick(tensor.detach(), sample_index(tensor.numel(), count, tensor.device))
        for name, tensor in state.items()
    }
    remote = [name for name, t in state.items() if sums and t.device.type != "cpu" and t.numel() > count]
    found = fetch([*samples.values(), *(row_sums(state[name].detach()) for name in remote)])
    totals = dict(zip(remote, found[len(samples) :], strict=True))
    return {name: Taken(values, totals.get(name)) for name, values in zip(samples, found, strict=False)}


def take_samples(state: Mapping[str, Tensor], count: int = SAMPLES) -> dict[str, Tensor]:
    """Samples alone."""
    return {name: taken.samples for name, taken in take(state, count).items()}


def pick(tensor: Tensor, index: Tensor) -> Tensor:
    """Values at flat positions; ``tensor`` is not copied, whatever its strides."""
    if tensor.numel() == 0 or tensor.is_contiguous():
        return tensor.reshape(-1).index_select(0, index)
    place, span = torch.zeros_like(index), 1
    for size, stride in zip(reversed(tensor.shape), reversed(tensor.stride()), strict=True):
        place += index % size * stride
        index = index // size
        span += (size - 1) * stride
    return tensor.as_strided((span,), (1,)).index_select(0, place)


def row_sums(tensor: Tensor) -> Tensor:
    """For every index of the first dimension, the sum (modulo 2^bits) of the bit patterns below it; for a vector one sum.

    One reduction, no temporary memory, the same on every device and for every memory layout. Different rows have equal sums
    once in 2^32 (float32) or 2^16 (16 bits), which all rows of a tensor do together only when they are equal.
    """
    bits = tensor.view(_WHOLE[tensor.dtype.itemsize])
    return bits.sum(dim=tuple(range(1, bits.dim())) or None, dtype=bits.dtype).reshape(-1)


def fetch(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors (of few elements) on the CPU; those of one device travel together, as bytes."""
    found = list(tensors)
    places: dict[torch.device, list[int]] = {}
    for i, tensor in enumerate(tensors):
        if tensor.device.type != "cpu":
            places.setdefault(tensor.device, []).append(i)
    for members in places.values():
        members.sort(key=lambda i: -tensors[i].dtype.itemsize)  # so that each starts at a multiple of its size
        data = [tensors[i].reshape(-1).view(torch.uint8) for i in members]
        parts = torch.split(torch.cat(data).cpu(), [len(part) for part in data])
        for i, part in zip(members, parts, strict=True):
            found[i] = part.view(tensors[i].dtype).reshape(tensors[i].shape)
    return found
