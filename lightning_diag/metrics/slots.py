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

    __slots__ = ("_rows", "used", "whole")

    def __init__(self, like: tuple[Tensor, ...], steps: int) -> None:
        with torch.inference_mode(mode=False), torch.no_grad():
            self.whole = tuple(torch.empty((steps, *t.shape), dtype=t.dtype, device=t.device) for t in like)
            self._rows = list(zip(*(whole.unbind(0) for whole in self.whole), strict=True))
        self.used = 0

    def put(self, *tensors: Tensor) -> None:
        """Copy one of each, none of which requires grad, into the next slots."""
        torch._foreach_copy_(self._rows[self.used], tensors)
        self.used += 1

    @property
    def full(self) -> bool:
        """Whether there is no slot left."""
        return self.used == len(self._rows)

    def take(self) -> tuple[Tensor, ...]:
        """What was put in, each of shape (used, ...); it is overwritten by what is put in next."""
        used, self.used = self.used, 0
        return tuple(whole[:used] for whole in self.whole)
