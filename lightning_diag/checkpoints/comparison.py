"""The value that a comparison of a checkpoint with a model ends in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lightning_diag.checkpoints.align import Alignment
from lightning_diag.checkpoints.content import Distance

Status = Literal["equal", "different", "shape", "missing", "head", "new", "uninformative"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One weight of the model and what the checkpoint has for it.

    Attributes:
        name: canonical name in the model; source: canonical name in the checkpoint; numel: elements.
        status: ``equal``; ``different``: other values; ``shape``: another shape; ``missing``: the checkpoint has nothing
            where it should; ``head``: an output layer with another class count; ``new``: a part that the checkpoint was
            never meant to fill; ``uninformative``: the same constant on both sides, which proves nothing.
        by_content: found under another name by its values; misplaced: so, but in another layer than the names say, and not
            in the order of the checkpoint; exact: whether every value agrees, None where samples alone
            were compared.
        turned: stored the other way round in the checkpoint; reshaped: in another shape; stacked: a part of one of its
            tensors, or several of them; pruned: its values are the checkpoint's or zero; scaled: the checkpoint's times a
            factor per output.
        reordered: its rows are the checkpoint's in another order.
        reset: constant in the model though not in the checkpoint, as a fresh norm layer is.
        matrix: two dimensions or more.
        distance: of the two, from samples; None where they cannot be compared.
    """

    name: str
    source: str | None
    numel: int
    status: Status
    by_content: bool = False
    misplaced: bool = False
    exact: bool | None = None
    turned: bool = False
    reshaped: bool = False
    stacked: bool = False
    pruned: bool = False
    scaled: bool = False
    reordered: bool = False
    reset: bool = False
    matrix: bool = True
    distance: Distance | None = None

    @property
    def is_changed(self) -> bool:
        """Equal, but not value by value at the same place."""
        return self.turned or self.stacked or self.pruned or self.scaled or self.reordered


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a checkpoint and a model have in common.

    Attributes:
        rows: one per weight of the model (tied weights once).
        alignment: prefixes exchanged to make the names meet.
        unused: weights of the checkpoint that belong to no weight of the model.
        expected: elements the checkpoint should have filled; shape_fit: share of the smaller side whose shapes occur
            on both sides (it tells a renamed network from another one).
        checkpoint_numel, model_numel: elements of all weights.
    """

    rows: tuple[Row, ...]
    alignment: Alignment
    unused: tuple[str, ...]
    expected: int
    shape_fit: float
    checkpoint_numel: int
    model_numel: int

    def having(self, *statuses: Status) -> tuple[Row, ...]:
        """Rows with one of these statuses."""
        return tuple(row for row in self.rows if row.status in statuses)

    def numel(self, *statuses: Status) -> int:
        """Elements of the rows with one of these statuses."""
        return sum(row.numel for row in self.having(*statuses))

    @property
    def equal(self) -> float:
        """Share of the expected elements whose tensors equal the checkpoint."""
        return self.numel("equal") / self.expected if self.expected else 0.0

    @property
    def aligned(self) -> float:
        """Share of the expected elements that have a counterpart by name, of whatever shape."""
        named = sum(row.numel for row in self.having("equal", "different", "shape") if not row.by_content)
        return named / self.expected if self.expected else 0.0

    @property
    def distance(self) -> Distance:
        """Distance over the matrices and kernels that could be compared.

        Vectors are left out where there are matrices: norm weights are all near 1, so two strangers look alike in them.
        """
        rows = [row for row in self.having("equal", "different") if row.distance is not None]
        chosen = [row for row in rows if row.matrix] or rows
        return sum((row.distance for row in chosen if row.distance is not None), Distance())
