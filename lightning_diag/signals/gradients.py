"""Gradients as the backward pass left them, before clipping, on a few steps per epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_diag.history import Count
from lightning_diag.signals.sampling import PairSchedule

COORDINATES, TENSORS = 2**13, 16
"""Coordinates of a gradient that are compared with the next one, evenly spaced over the largest tensors. The cosine of two
random directions in 8,192 dimensions is 0 with a standard deviation of 0.011."""
KEPT_CHECKS = 32
"""Steps at the start of the run at which is checked that gradients were zeroed; a loop that forgets does so always."""


@dataclass(frozen=True, kw_only=True)
class GradientSummary:
    """The gradients of one epoch.

    Attributes:
        values: signals by name. blocks: mean gradient norm per top-level block.
    """

    values: dict[str, float]
    blocks: dict[str, float]


class GradientSignals:
    """Norm, direction and reach of the gradients; a step that is not looked at costs one comparison.

    Norms stay on their device until :meth:`finish`; only the parameters of the first optimiser that steps are watched
    (adversarial training mixes two directions otherwise).

    Args:
        module: the module whose parameters are watched.
        clip: the Trainer's clip value, or None.
        by_value: each element is clipped to it, instead of the norm of all.
        schedule: which steps are looked at.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        clip: float | None = None,
        by_value: bool = False,
        schedule: PairSchedule | None = None,
    ) -> None:
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        self.names = [name for name, _ in named]
        self.parameters = [p for _, p in named]
        self.clip, self.by_value = clip, by_value
        self.schedule = schedule or PairSchedule()
        self._sizes = [0 if isinstance(p, nn.UninitializedParameter) else p.numel() for p in self.parameters]
        self._compared = sorted(range(len(self._sizes)), key=lambda i: -self._sizes[i])[:TENSORS]
        self._stride = max(1, -(-sum(self._sizes[i] for i in self._compared) // COORDINATES))
        self.reached = [False] * len(named)
        self.steps = 0
        self._optimizer: object | None = None
        self._last: Tensor | None = None
        self._norms: list[tuple[tuple[int, ...], Tensor]] = []
        self._cosines: list[Tensor] = []
        self._stepped = False
        self._several = False
        self._kept: list[Tensor | None] = []

    def start_epoch(self, steps: int | None) -> None:
        """Begin an epoch of ``steps`` optimiser steps (None: unknown)."""
        self.schedule.start(steps)
        self._last = None

    def before_step(self, optimizer: object, step: int | None = None) -> None:
        """Look at the gradients, from ``on_before_optimizer_step``: unscaled, not clipped. Never synchronises.

        Args:
            optimizer: the one that is about to step.
            step: number of the optimiser step in the epoch; None counts one on.
        """
        if self._optimizer is None:
            self._optimizer = optimizer
        if optimizer is not self._optimizer:
            self._several = True
            return
        self._stepped = len(self._kept) < KEPT_CHECKS
        before = self.schedule.step
        if step == before:
            return  # a closure that is called again (LBFGS)
        wanted = self.schedule.take(step)
        if not wanted or self.schedule.step != before + 1:
            self._last = None
        if wanted:
            self._look()

    def next_step(self) -> int | None:
        """Number in the epoch of the next step that :meth:`before_step` wants to see; None: of this epoch no more."""
        return self.schedule.next() if len(self._kept) >= KEPT_CHECKS else self.schedule.step + 1

    def before_backward(self) -> bool:
        """Look whether the gradient of an earlier step is still there, from ``on_before_backward``.

        Only the first backward pass after an optimiser step is looked at, so that accumulation is not taken for it.

        Returns:
            Whether the next backward pass is wanted too.
        """
        if self._stepped:
            self._stepped = False
            with torch.no_grad():
                grads = self._grads()
                self._kept.append(norms_of(list(grads.values())).amax() if grads else None)
        return len(self._kept) < KEPT_CHECKS

    @property
    def kept(self) -> Count | None:
        """Looked-at steps that began with an earlier gradient; None when no step was, or with several optimisers.

        With several optimisers the backward pass of one leaves gradients for the other on purpose.
        """
        if not self._kept or self._several:
            return None
        return Count(k=sum(n is not None and float(n) != 0.0 for n in self._kept), n=len(self._kept))

    def state(self) -> dict[str, Any]:
        """The looks of the open epoch, at most a few dozen numbers per parameter tensor."""
        looks = [(list(index), column.cpu()) for index, column in self._norms]
        return {
            "schedule": self.schedule.state(),
            "looks": looks,
            "cosines": [float(c) for c in self._cosines],
            "last": None if self._last is None else self._last.cpu(),
            "tensors": len(self.parameters),
            "reached": list(self.reached),
            "steps": self.steps,
        }

    def take_up(self, state: Mapping[str, Any], *, same_epoch: bool) -> None:
        """Go on from :meth:`state`; its looks only within the same epoch and for the same parameters."""
        self.schedule.take_up(state["schedule"], same_epoch=same_epoch)
        if state["tensors"] != len(self.parameters):
            return
        self.reached, self.steps = list(state["reached"]), state["steps"]
        if same_epoch:
            self._norms = [(tuple(index), column) for index, column in state["looks"]]
            self._cosines = [torch.tensor(c) for c in state["cosines"]]
            if state["last"] is not None and self.parameters:
                self._last = state["last"].to(self.parameters[0].device)

    @torch.no_grad()
    def _look(self) -> None:
        grads = self._grads()
        if not grads:
            return
        self.steps += 1
        index = tuple(grads)
        if not self._norms or self._norms[-1][0] != index:
            for i in index:
                self.reached[i] = True
        self._norms.append((index, norms_of(list(grads.values()))))
        parts = [grads[i].reshape(-1)[:: self._stride] for i in self._compared if i in grads]
        if not parts:
            self._last = None
            return
        direction = _joined(parts)
        direction /= torch.linalg.vector_norm(direction)
        if self._last is not None and self._last.shape == direction.shape:
            self._cosines.append(torch.dot(self._last, direction))
        self._last = direction

    def _grads(self) -> dict[int, Tensor]:
        """Gradients by position that are dense and held whole on this rank; others would need communication."""
        found = {}
        for i, parameter in enumerate(self.parameters):
            grad = parameter.grad
            if grad is not None and type(grad) is Tensor and not grad.is_sparse:
                found[i] = grad
        return found

    @property
    def with_grad(self) -> list[Tensor] | None:
        """The parameters that had a gradient in some step; None before the first look."""
        return [p for p, seen in zip(self.parameters, self.reached, strict=True) if seen] if self.steps else None

    @property
    def without_grad(self) -> float | None:
        """Share of the trainable parameters that never had a gradient; None before the first look."""
        if not self.steps:
            return None
        missed = sum(n for n, seen in zip(self._sizes, self.reached, strict=True) if not seen)
        return missed / max(1, sum(self._sizes))

    def finish(self) -> GradientSummary:
        """The signals of the epoch, read from the device; then start again."""
        looks = [(index, column.cpu().double()) for index, column in self._norms]
        cosines = [float(c) for c in self._cosines]
        self._norms, self._cosines, self._last = [], [], None
        if not looks:
            return GradientSummary(values={}, blocks={})
        totals = [float(column.norm()) for _, column in looks]
        finite = [t for t in totals if math.isfinite(t)]
        values = {"grad/nonfinite_steps": float(len(totals) - len(finite))}
        if finite:
            values |= {"grad/norm": _mean(finite), "grad/norm_max": max(finite)}
            values |= {} if self.clip is None else {"grad/clip_ratio": _mean(self._left(looks, self.clip))}
        if known := [c for c in cosines if math.isfinite(c)]:
            values["grad/cosine"] = _mean(known)
        values |= self._first_last(looks)
        return GradientSummary(values=values, blocks=self._blocks(looks))

    def _left(self, looks: Sequence[tuple[tuple[int, ...], Tensor]], clip: float) -> list[float]:
        """Share of each gradient that clipping leaves; by value the largest share that the norms of the tensors allow."""
        norms = [(index, column, float(column.norm())) for index, column in looks]
        known = [(index, column, total) for index, column, total in norms if math.isfinite(total)]
        if not self.by_value:
            return [min(1.0, clip / total) if total > 0 else 1.0 for _, _, total in known]
        most = [torch.tensor([clip * math.sqrt(self._sizes[i]) for i in index]).double() for index, _, _ in known]
        return [
            float(torch.minimum(column, cap).norm()) / total if total > 0 else 1.0
            for (_, column, total), cap in zip(known, most, strict=True)
        ]

    def _first_last(self, looks: Sequence[tuple[tuple[int, ...], Tensor]]) -> dict[str, float]:
        """Ratio of the first to the last weight matrix that gets a gradient."""
        matrices = [i for i, p in enumerate(self.parameters) if p.dim() > 1 and self.reached[i]]
        if len(matrices) < 2:
            return {}
        ends, ratios = (matrices[0], matrices[-1]), []
        for index, column in looks:
            if all(e in index for e in ends):
                first, last = (float(column[index.index(e)]) for e in ends)
                if math.isfinite(first) and math.isfinite(last) and last > 0:
                    ratios.append(first / last)
        return {"grad/first_last_ratio": _mean(ratios)} if ratios else {}

    def _blocks(self, looks: Sequence[tuple[tuple[int, ...], Tensor]]) -> dict[str, float]:
        sums: dict[str, list[float]] = {}
        for index, column in looks:
            step: dict[str, float] = {}
            for i, value in zip(index, column.tolist(), strict=True):
                block = block_of(self.names[i])
                step[block] = step.get(block, 0.0) + value * value
            for block, squared in step.items():
                sums.setdefault(block, []).append(math.sqrt(squared) if math.isfinite(squared) else math.nan)
        return {block: _mean([v for v in values if math.isfinite(v)]) for block, values in sums.items()}


def block_of(name: str, depth: int = 2) -> str:
    """The block that a parameter belongs to: its dotted name without the parameter, at most ``depth`` parts."""
    parts = name.split(".")[:-1]
    return ".".join(parts[:depth]) or name


def norms_of(tensors: list[Tensor]) -> Tensor:
    """L2 norm of each tensor as one vector on the first one's device, in float32 or, where a tensor is wider, in float64."""
    wide = torch.float64 if any(t.dtype is torch.float64 for t in tensors) else torch.float32
    return torch.stack(_together(torch._foreach_norm(tensors, 2, dtype=wide)))  # noqa: SLF001  (what torch's own clipping calls: one fused call instead of one per tensor)


def _joined(parts: list[Tensor]) -> Tensor:
    """One float32 vector."""
    return torch.cat(_together(parts)).float()


def _together(parts: Sequence[Tensor]) -> list[Tensor]:
    """All on the device of the first, for a model that is spread over devices."""
    first = parts[0].device
    return [p if p.device == first else p.to(first, non_blocking=True) for p in parts]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
