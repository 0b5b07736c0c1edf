"""Whether dropout and normalisation layers are in the mode that the stage needs."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from lightning_diag.history import Count

SAMPLED = 2
"""Steps looked at per epoch and stage: modes are set at the start of a stage, hardly ever between its steps."""


class ModeSignals:
    """Counts the sampled steps that ran in the expected mode.

    Watched are dropout layers that drop something and batch normalisation. Layers inside a frozen block may be kept
    in eval mode on purpose and do not count. A module without such layers is judged by its own flag, which
    ``F.dropout(x, training=self.training)`` reads.

    Args:
        module: the module to watch.
    """

    def __init__(self, module: nn.Module) -> None:
        self._layers = _watched(module) or [module]
        self._right = {"train": 0, "val": 0}
        self._seen = {"train": 0, "val": 0}
        self._left = SAMPLED

    def start(self) -> None:
        """Begin a stage of an epoch."""
        self._left = SAMPLED

    def step(self, stage: str) -> bool:
        """Look at one step of ``train`` or ``val``, after it ran; whether the next one is wanted too."""
        if self._left <= 0:
            return False
        self._left -= 1
        any_training = any(layer.training for layer in self._layers)
        self._seen[stage] += 1
        self._right[stage] += any_training if stage == "train" else not any_training
        return self._left > 0

    def count(self, stage: str) -> Count | None:
        """Steps in the expected mode of those looked at; None when none was."""
        return Count(k=self._right[stage], n=self._seen[stage]) if self._seen[stage] else None


def _watched(module: nn.Module) -> list[nn.Module]:
    found: list[nn.Module] = []
    for child in module.children():
        parameters = list(child.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            continue
        if isinstance(child, _BatchNorm) or (isinstance(child, _DropoutNd) and child.p > 0):
            found.append(child)
        found += _watched(child)
    return found
