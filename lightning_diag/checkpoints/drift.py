"""How far a module has moved from a checkpoint, by samples that were kept, without opening the file again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from lightning_diag.checkpoints.best import Match
from lightning_diag.checkpoints.content import Distance, distance
from lightning_diag.checkpoints.names import blocks_of
from lightning_diag.checkpoints.samples import take_samples

BLOCKS = 12
"""Blocks told apart: each is two numbers in the record of every epoch, and a line in a figure."""


@dataclass(frozen=True)
class DriftReference:
    """Samples of the checkpoint for every weight of the module that has a counterpart of its shape.

    Attributes:
        samples: by the name of the parameter in the module (about 1,024 values each). Matrices and kernels only:
            norm weights stay near 1 and would make everything look alike.
        blocks: block of each parameter. count: values asked for per tensor.
    """

    samples: Mapping[str, Tensor]
    blocks: Mapping[str, str]
    count: int

    @classmethod
    def of(cls, match: Match, count: int) -> DriftReference:
        """Keep the samples that a comparison has taken."""
        rows = [
            row
            for row in match.comparison.having("equal", "different")
            if row.source and row.matrix and match.checkpoint.shape(row.source) == match.model.shape(row.name)
        ]
        names = {row.name: match.model.original[row.name] for row in rows}
        blocks = blocks_of({row.name: row.numel for row in rows}, BLOCKS)
        return cls(
            {names[row.name]: match.checkpoint.samples[str(row.source)] for row in rows},
            {names[row.name]: blocks[row.name] or "(top level)" for row in rows},
            count,
        )

    def measure(self, state: Mapping[str, Tensor]) -> dict[str, float]:
        """``pretrain/<block>/relative_l2`` and ``.../cosine``, and both for the whole under ``pretrain/``.

        Args:
            state: the module's parameters by name, as they are now.
        """
        there = {name: state[name] for name in self.samples if name in state}
        now = take_samples(there, self.count)
        sums: dict[str, Distance] = {}
        for name, values in now.items():
            if values.shape == self.samples[name].shape:
                gap = distance(self.samples[name], values, there[name].numel())
                block = self.blocks[name]
                sums[block] = sums.get(block, Distance()) + gap
        whole = sum(sums.values(), Distance())
        return _values("pretrain", whole) | {
            k: v for block, s in sums.items() for k, v in _values(f"pretrain/{block}", s).items()
        }


def _values(name: str, total: Distance) -> dict[str, float]:
    measured = {"relative_l2": total.relative_l2, "cosine": total.cosine}
    return {f"{name}/{what}": value for what, value in measured.items() if value is not None}
