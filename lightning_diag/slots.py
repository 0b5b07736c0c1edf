"""Memory that is filled step by step without an allocation."""

from __future__ import annotations

import torch
from torch import Tensor


class Slots:
    """Room for ``steps`` times the same tensors.

    A small copy that stays alive, made in each step, comes to lie between the tensors of the user's model: the allocator
    then gives the next step other addresses, and their memory is not in the cache. That costs a step more than the copy.

    Args:
        like: tensors of the shapes, types and devices of all that will be put in.
        steps: how many times there is room for.
    """

    __slots__ = ("_like", "_rows", "used", "whole")

    def __init__(self, like: tuple[Tensor, ...], steps: int) -> None:
        with torch.inference_mode(mode=False), torch.no_grad():
            self.whole = tuple(torch.empty((steps, *t.shape), dtype=t.dtype, device=t.device) for t in like)
            self._rows = list(zip(*(whole.unbind(0) for whole in self.whole), strict=True))
        self._like = [(t.shape, t.dtype, t.device) for t in like]
        self.used = 0

    def takes(self, *tensors: Tensor) -> bool:
        """Whether there is a slot left, for tensors of just these shapes, types and devices."""
        return not self.full and [(t.shape, t.dtype, t.device) for t in tensors] == self._like

    def put(self, *tensors: Tensor) -> None:
        """Copy one of each, none of which requires grad, into the next slots."""
        torch._foreach_copy_(self.next(), tensors)

    def next(self) -> tuple[Tensor, ...]:
        """The next slots, to be filled by the caller."""
        self.used += 1
        return self._rows[self.used - 1]

    @property
    def full(self) -> bool:
        """Whether there is no slot left."""
        return self.used == len(self._rows)

    def take(self) -> tuple[Tensor, ...]:
        """What was put in, each of shape (used, ...); it is overwritten by what is put in next."""
        used, self.used = self.used, 0
        return tuple(whole[:used] for whole in self.whole)


class Tape:
    """Room for tensors of one type and of any shape, one after the other, in few large pieces; see :class:`Slots` for why."""

    __slots__ = ("_dtype", "_piece", "_used")

    LEAST, MOST = 2**12, 2**20

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._piece: Tensor | None = None
        self._used = 0

    def put(self, tensor: Tensor, device: torch.device | None = None) -> Tensor:
        """A copy of ``tensor`` in the type of the tape and on ``device`` (its own by default), valid until :meth:`clear`."""
        piece, count = self._piece, tensor.numel()
        device = tensor.device if device is None else device
        if piece is None or piece.device != device or self._used + count > piece.shape[0]:
            piece = self._piece = self._longer(count, device)
        # a slice, its view in a shape and a reshape of the tensor would take three times as long
        room = piece.as_strided(tensor.shape, _strides(tensor.shape), self._used)
        self._used += count
        return room.copy_(tensor.detach() if tensor.requires_grad else tensor, non_blocking=True)

    def clear(self) -> None:
        """What was put in is no longer needed; the last piece is used again."""
        self._used = 0

    def _longer(self, count: int, device: torch.device) -> Tensor:
        """A new piece, larger than the last; that one lives as long as somebody holds what lies in it."""
        last = 0 if self._piece is None else self._piece.shape[0]
        self._used = 0
        with torch.inference_mode(mode=False), torch.no_grad():
            return torch.empty(max(count, self.LEAST, min(2 * last, self.MOST)), dtype=self._dtype, device=device)


def _strides(shape: torch.Size) -> tuple[int, ...]:
    """Of a contiguous tensor."""
    if len(shape) < 2:
        return (1,) * len(shape)
    steps = [1]
    for size in reversed(shape[1:]):
        steps.append(steps[-1] * size)
    return tuple(reversed(steps))
