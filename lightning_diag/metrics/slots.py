"""Memory that is filled step by step without an allocation."""

from __future__ import annotations

import torch
from torch import Tensor


class Slots:
    """Room for ``steps`` tensors of one shape.

    A small copy that stays alive, made in each step, comes to lie between the tensors of the user's model: the allocator
    then gives the next step other addresses, and their memory is not in the cache. That costs a step more than the copy.

    Args:
        like: a tensor of the shape, type and device of all that will be put in.
        steps: how many there is room for.
    """

    __slots__ = ("_views", "used", "whole")

    def __init__(self, like: Tensor, steps: int) -> None:
        with torch.inference_mode(mode=False), torch.no_grad():
            self.whole = torch.empty((steps, *like.shape), dtype=like.dtype, device=like.device)
            self._views = self.whole.unbind(0)
        self.used = 0

    def put(self, tensor: Tensor) -> None:
        """Copy a tensor that does not require grad into the next slot."""
        self._views[self.used].copy_(tensor)
        self.used += 1

    @property
    def full(self) -> bool:
        """Whether there is no slot left."""
        return self.used == len(self._views)

    def fits(self, tensor: Tensor) -> bool:
        """Whether a tensor has the shape, type and device of the slots."""
        whole = self.whole
        return (whole.shape[1:], whole.dtype, whole.device) == (tensor.shape, tensor.dtype, tensor.device)

    def take(self) -> Tensor:
        """What was put in, shape (used, ...); it is overwritten by what is put in next."""
        used, self.used = self.used, 0
        return self.whole[:used]
