"""The losses of the training steps of one interval."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_diag.slots import Slots


class StepLosses:
    """Losses of the training steps, held on their device and read once per interval.

    A step costs one copy of a scalar; a long epoch keeps 4 bytes a step.
    """

    CHUNK = 512

    def __init__(self) -> None:
        self.first: float | None = None
        self._slots: Slots | None = None
        self._chunks: list[Tensor] = []
        self._earlier: _Seen | None = None

    def add(self, loss: Tensor) -> None:
        """Copy the loss of one step, shape () or (1,), detached."""
        if self._slots is None or self._slots.full:
            self._pack()
            self._slots = Slots((loss.new_empty((), dtype=torch.float32),), self.CHUNK)
        self._slots.put(loss if loss.dim() == 0 else loss.reshape(()))

    def extend(self, losses: Tensor) -> None:
        """Take the losses of several steps, shape (steps,), detached; nobody may change them later."""
        self._pack()
        self._chunks.append(losses)

    def _pack(self) -> None:
        if self._slots is not None and self._slots.used:
            self._chunks.append(self._slots.take()[0].clone())

    def state(self) -> dict[str, Any]:
        """What :meth:`read` would say now, as plain numbers."""
        seen = self._seen()
        return {"first": self.first, "seen": list(seen) if seen is not None else None}

    def take_up(self, state: Mapping[str, Any], *, carried: bool) -> None:
        """Go on from :meth:`state` where the interval goes on; else this fit has a first step of its own, that of the checkpoint."""
        self.first = state["first"] if carried else None
        if carried and state["seen"] is not None:
            self._earlier = _Seen(*state["seen"])

    def read(self) -> dict[str, float]:
        """Smallest, largest, first, and how many were not finite; then start again."""
        seen = self._seen()
        self._chunks, self._earlier = [], None
        if seen is None:
            return {}
        found = {"loss/nonfinite_steps": seen.nonfinite}
        if seen.least <= seen.most:
            found |= {"loss/step_min": seen.least, "loss/step_max": seen.most}
        if self.first is None:
            self.first = found["loss/first"] = seen.first
        return found

    def _seen(self) -> _Seen | None:
        self._pack()
        if not self._chunks:
            return self._earlier
        steps = torch.cat([chunk.cpu().float() for chunk in self._chunks])
        finite = steps[steps.isfinite()]
        ends = (float(finite.min()), float(finite.max())) if len(finite) else (math.inf, -math.inf)
        now = _Seen(float(steps[0]), float(len(steps) - len(finite)), *ends)
        then = self._earlier
        if then is None:
            return now
        least, most = min(then.least, now.least), max(then.most, now.most)
        return _Seen(then.first, then.nonfinite + now.nonfinite, least, most)


class _Seen(NamedTuple):
    """Losses of steps: the first, how many were not finite, and the smallest and largest of the others."""

    first: float
    nonfinite: float
    least: float
    most: float
