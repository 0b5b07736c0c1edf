"""ReLU units that never fire on the probe."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from lightning_diag.signals.visits import outside_parts

SMALLEST, LOOKS = 16, 48
"""Samples, and values of each unit (samples times positions), below which silence means nothing. 48 are the three batches of
the probe with 16 samples each: nine tenths of a layer are silent in all of them only where its units fire on fewer than one
sample of 400, after 16 where they fire on one of 150, which wide sparse layers do."""


def relu_layers(module: nn.Module) -> list[nn.Module]:
    """The layers of a module that can be watched."""
    return [part for _, part in outside_parts(module) if type(part) is nn.ReLU]


class DeadUnits:
    """Watches the ``nn.ReLU`` layers of a module inside a ``with`` block.

    ``F.relu`` calls cannot be seen.

    Args:
        module: run inside the block without gradients.
    """

    def __init__(self, module: nn.Module) -> None:
        self._layers = relu_layers(module)
        self._fired: dict[tuple[int, int], list[Tensor]] = {}
        self._samples: dict[int, int] = {}
        self._looks: dict[tuple[int, int], int] = {}
        self._handles: list[Any] = []

    def __enter__(self) -> Self:
        self._handles = [layer.register_forward_hook(self._note(i)) for i, layer in enumerate(self._layers)]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _note(self, index: int) -> Any:
        """Whether each unit fired; with three axes units may lie on the second (Conv1d) or the last (Linear)."""

        def note(_: nn.Module, __: Any, output: Tensor) -> None:
            active = output.detach() > 0
            self._samples[index] = self._samples.get(index, 0) + len(active)
            for axis in {2: (1,), 3: (1, 2), 4: (1,), 5: (1,)}.get(active.dim(), ()):
                fired = active.movedim(axis, 0).flatten(1).any(1)
                self._fired.setdefault((index, axis), []).append(fired)
                self._looks[index, axis] = self._looks.get((index, axis), 0) + active.numel() // max(1, len(fired))

        return note

    def values(self) -> dict[str, float]:
        """``relu/dead_share``: the largest share over the layers; empty without ReLU layers or with few samples."""
        shares: dict[int, float] = {}
        for (index, axis), fired in self._fired.items():
            few = self._samples[index] < SMALLEST or self._looks[index, axis] < LOOKS
            if few or len({len(f) for f in fired}) != 1:
                continue
            dead = 1.0 - float(torch.stack(fired).any(0).float().mean())
            shares[index] = min(dead, shares.get(index, 1.0))
        return {"relu/dead_share": max(shares.values())} if shares else {}
