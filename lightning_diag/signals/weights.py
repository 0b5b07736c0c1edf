"""How far the weights move, which ones move at all, and which ones an optimiser reaches."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_diag.signals.fresh import constant_share, looks_fresh
from lightning_diag.signals.gradients import block_of, norms_of

COORDINATES = 2**20
"""Coordinates of the weights that are remembered (4 MiB, twice); every tensor keeps at least :data:`LEAST`."""
LEAST = 64


class WeightSignals:
    """Update size per epoch and per block, norm, and share of the weights that changed.

    Small models are remembered whole, large ones at evenly spaced coordinates of each tensor, scaled back to its size.
    Reads the weights only between epochs.

    Args:
        module: the module to watch; call :meth:`start` before its first step.
    """

    def __init__(self, module: nn.Module) -> None:
        named = [(n, p) for n, p in module.named_parameters() if _plain(p)]
        self.names = [n for n, _ in named]
        self.parameters = [p for _, p in named]
        self.sizes = [p.numel() for p in self.parameters]
        share = min(1.0, COORDINATES / max(1, sum(self.sizes)))
        self._strides = [max(1, min(int(1 / share), n // LEAST or 1)) for n in self.sizes]
        self._first: list[Tensor] = []
        self._last: list[Tensor] = []

    def start(self) -> None:
        """Remember the weights as they are before the first step."""
        self._first = self._last = self._sample()

    @torch.no_grad()
    def finish_epoch(self) -> tuple[dict[str, float], dict[str, float]]:
        """(signals, update ratio per block) of the epoch that ends here."""
        if not self._last or not self.parameters:
            return {}, {}
        now = self._sample()
        scales = [size / max(1, len(part)) for size, part in zip(self.sizes, now, strict=True)]
        moved = _squares([a - b for a, b in zip(now, self._last, strict=True)], scales)
        norms = _squares(now, scales)
        self._last = now
        total = math.sqrt(sum(norms)) if all(map(math.isfinite, norms)) else math.nan
        values = {"param/norm": total, "update/ratio": _ratio(sum(moved), sum(norms))}
        return {k: v for k, v in values.items() if math.isfinite(v)}, self._by_block(moved, norms)

    def changed(self) -> float | None:
        """Share of the parameters that differ from the start; None before :meth:`start`."""
        if not self._first or not self.parameters:
            return None
        now, differing = self._sample(), 0.0
        for size, first, last in zip(self.sizes, self._first, now, strict=True):
            differing += size * float((first != last).float().mean())
        return differing / max(1, sum(self.sizes))

    def _by_block(self, moved: Sequence[float], norms: Sequence[float]) -> dict[str, float]:
        sums: dict[str, list[float]] = {}
        for name, m, n in zip(self.names, moved, norms, strict=True):
            pair = sums.setdefault(block_of(name), [0.0, 0.0])
            pair[0] += m
            pair[1] += n
        return {block: _ratio(m, n) for block, (m, n) in sums.items()}

    @torch.no_grad()
    def _sample(self) -> list[Tensor]:
        pairs = zip(self.parameters, self._strides, strict=True)
        return [p.detach().reshape(-1)[::stride].clone() for p, stride in pairs]


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Which parameters the optimisers reach.

    Attributes:
        in_optimizer: share of the parameters that some optimiser updates.
        trainable_not_in_optimizer: share of the parameters that require a gradient and are in none.
        missing_blocks: topmost blocks whose trainable parameters are all in none.
        missing_without_grad: share of the parameters that require a gradient, are in none and never had one: copies
            that are not trained on purpose, or parts that are not used; None where gradients were not looked at.
    """

    in_optimizer: float
    trainable_not_in_optimizer: float
    missing_blocks: tuple[str, ...]
    missing_without_grad: float | None = None


def coverage(module: nn.Module, optimizers: Iterable[Any], reached: Iterable[Tensor] | None = None) -> Coverage:
    """Compare a module's parameters with those that the optimisers hold, by identity.

    Args:
        module: the module.
        optimizers: all of them.
        reached: the parameters that had a gradient in some step; None where no step was looked at.
    """
    held = {id(p) for o in optimizers for group in o.param_groups for p in group["params"]}
    sizes = {id(p): _numel(p) for p in module.parameters()}
    total = max(1, sum(sizes.values()))
    outside = {id(p) for p in module.parameters() if p.requires_grad and id(p) not in held}
    idle = None if reached is None else outside - {id(p) for p in reached}
    return Coverage(
        in_optimizer=sum(n for i, n in sizes.items() if i in held) / total,
        trainable_not_in_optimizer=sum(n for i, n in sizes.items() if i in outside) / total,
        missing_blocks=_blocks_in(module, outside),
        missing_without_grad=None if idle is None else sum(n for i, n in sizes.items() if i in idle) / total,
    )


@dataclass(frozen=True, kw_only=True)
class Start:
    """What the weights look like before the first step.

    Attributes:
        constant_init: share of constant weight matrices.
        looks_fresh: whether the weights look freshly initialised.
        frozen_fresh: the same for the frozen ones alone; None when nothing is frozen.
    """

    constant_init: float | None
    looks_fresh: bool | None
    frozen_fresh: bool | None


def start_facts(module: nn.Module) -> Start:
    """Look at the weights once, before training."""
    parameters = [p for p in module.parameters() if _plain(p)]
    return Start(
        constant_init=constant_share(module) if len(parameters) == len(list(module.parameters())) else None,
        looks_fresh=looks_fresh(parameters),
        frozen_fresh=looks_fresh([p for p in parameters if not p.requires_grad]),
    )


def _blocks_in(module: nn.Module, ids: set[int], prefix: str = "", depth: int = 3) -> tuple[str, ...]:
    """Topmost blocks whose trainable parameters all have one of ``ids``."""
    blocks: list[str] = []
    for name, child in module.named_children():
        trainable = [id(p) for p in child.parameters() if p.requires_grad]
        if trainable and all(i in ids for i in trainable):
            blocks.append(prefix + name)
        elif depth > 1:
            blocks += _blocks_in(child, ids, f"{prefix}{name}.", depth - 1)
    return tuple(blocks)


def _plain(parameter: Tensor) -> bool:
    """Whole on this rank and with a shape: not sharded (DTensor), not lazy."""
    lazy = isinstance(parameter, nn.parameter.UninitializedParameter)
    return not lazy and parameter.is_floating_point() and type(parameter.data) is Tensor


def _numel(parameter: Tensor) -> int:
    return 0 if isinstance(parameter, nn.parameter.UninitializedParameter) else parameter.numel()


def _squares(parts: Sequence[Tensor], scales: Sequence[float]) -> list[float]:
    """Sum of squares of each tensor, scaled back to its full size; one transfer to the host."""
    column = norms_of(list(parts)).cpu().double()
    return [float(n) ** 2 * scale for n, scale in zip(column.tolist(), scales, strict=True)]


def _ratio(moved: float, norm: float) -> float:
    return math.sqrt(moved / norm) if norm > 0 and math.isfinite(moved) and math.isfinite(norm) else math.nan
