"""Whether the inputs fit a pretrained model: its first batch normalisation remembers what it was trained on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lightning_diag.signals.visits import outside_parts


class NormWatch:
    """Compares the first training batch with the running statistics of the first trained normalisation layer.

    A hook on the trained layers records once and is then removed. The statistics are those before the first step.

    Args:
        module: the module, at fit start.
    """

    def __init__(self, module: nn.Module) -> None:
        self._found: tuple[Tensor, Tensor, Tensor, Tensor] | None = None
        layers = [p for _, p in outside_parts(module) if isinstance(p, _BatchNorm) and _trained(p)]
        before = {id(p): (_copy(p.running_mean), _copy(p.running_var)) for p in layers}
        self._before = before
        self._handles = [p.register_forward_pre_hook(self._note) for p in layers]

    def _note(self, layer: nn.Module, args: tuple[Any, ...]) -> None:
        if not torch.is_grad_enabled() or self._found is not None:  # validation comes first in a sanity check
            return
        with torch.no_grad():
            x = args[0].detach().float()
            axes = [a for a in range(x.dim()) if a != 1]
            mean, variance = self._before[id(layer)]
            self._found = (x.mean(axes), x.std(axes), mean.to(x.device), variance.to(x.device))
        self.remove()

    def remove(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def read(self) -> tuple[float, float] | None:
        """(shift, scale); None without a trained layer or before the first training step.

        Shift is the mean over channels of the distance of batch mean and running mean / running standard deviation; scale the median
        over channels of batch standard deviation / running standard deviation.
        """
        if self._found is None:
            return None
        mean, std, running_mean, running_variance = (t.cpu().double() for t in self._found)
        expected = running_variance.sqrt()
        usable = (expected > 1e-8) & mean.isfinite() & std.isfinite()
        if not bool(usable.any()):
            return None
        shift = ((mean - running_mean).abs() / expected)[usable].mean()
        return float(shift), float((std / expected)[usable].median())


def _trained(layer: _BatchNorm) -> bool:
    mean, variance, tracked = layer.running_mean, layer.running_var, layer.num_batches_tracked
    if mean is None or variance is None:
        return False
    moved = bool((mean != 0).any()) or bool((variance != 1).any())
    return moved or (tracked is not None and int(tracked) > 0)


def _copy(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return tensor.detach().float().clone()
