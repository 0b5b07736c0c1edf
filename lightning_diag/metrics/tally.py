"""The counters of one stage: two flat tensors that are only ever added to, so that one summed reduction merges ranks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_diag.metrics.rows import Rows, Spec, Sureness, hard_labels, positions

BINS = 15
"""Equal-width confidence bins of the expected calibration error (Guo et al. 2017, "On Calibration ...")."""
TABLE_CLASSES = 256
"""Up to this many classes the full table target x predicted is counted (66,049 int64: 0.5 MB)."""
NAMES = ("samples", "counted", "correct", "out_of_range", "ignored", "nonfinite", "padded", "loss_steps", "loss_bad")
"""Counts by name. Of ``counted``, ``correct``, ``out_of_range`` and ``nonfinite`` only what the class counts do not tell:
see :func:`~lightning_diag.metrics.unpack.unpack`."""
SUMS = ("loss", "loss_weight", "label_hits", "label_n")
COLUMNS = ("n", "confidence", "right", "entropy")
"""What is summed per confidence bin."""


@dataclass(frozen=True)
class Layout:
    """Where what lies in ``counts`` (int64) and ``sums`` (float64).

    Attributes:
        classes: number of classes; 0 before it is known. groups: number of sample groups.
        table: whether the full table target x predicted is counted (never for multilabel tasks).
    """

    classes: int
    groups: int = 0
    table: bool = False

    @property
    def side(self) -> int:
        """Slots per axis: targets below the classes, the classes, targets above or predictions that do not exist."""
        return self.classes + 2

    @property
    def cells(self) -> int:
        """Entries of the class counts: a square table, or three rows (targets, predictions, right ones)."""
        return self.side * (self.side if self.table else 3)

    @property
    def counts(self) -> int:
        """Entries of the int64 state."""
        return len(NAMES) + 2 * self.groups + self.cells

    @property
    def sums(self) -> int:
        """Entries of the float64 state."""
        return len(SUMS) + len(COLUMNS) * BINS


class Tally:
    """Views into the two state tensors, and the additions."""

    def __init__(self, layout: Layout, counts: Tensor, sums: Tensor) -> None:
        self.layout = layout
        names = len(NAMES)
        self.named = counts[:names]
        self.groups = counts[names : names + 2 * layout.groups].view(2, layout.groups)
        cells = counts[names + 2 * layout.groups :]
        self.cells = cells.view(layout.side if layout.table else 3, layout.side)
        self.sums = sums[: len(SUMS)]
        self.bins = sums[len(SUMS) :].view(len(COLUMNS), BINS)

    def take_over(self, old: Tally) -> None:
        """Copy what another, not larger tally has counted; a table becomes three rows where this has none."""
        self.named.copy_(old.named)
        self.groups.copy_(old.groups)
        self.sums.copy_(old.sums)
        self.bins.copy_(old.bins)
        known, cells = old.layout.side - 1, old.cells.to(self.cells)
        if old.layout.table and not self.layout.table:
            cells = torch.stack([cells.sum(1), cells.sum(0), cells.diagonal()])
        rows = known if self.layout.table else 3
        self.cells[:rows, :known] += cells[:rows, :known]
        self.cells[:rows, -1] += cells[:rows, -1]
        if self.layout.table:
            self.cells[-1, :known] += cells[-1, :known]
            self.cells[-1, -1] += cells[-1, -1]

    def add(self, name: str, value: Tensor | int) -> None:
        """Add to a named count."""
        self.named[NAMES.index(name)].add_(value)

    def add_sum(self, name: str, value: Tensor | float) -> None:
        """Add to a named sum."""
        self.sums[SUMS.index(name)].add_(value)

    def add_rows(self, rows: Rows, groups: Tensor | None = None) -> Tensor:
        """Count rows; returns which were right, as a bool column.

        Slot 0 takes targets below the classes (and ignored ones), the last slot targets above them and predictions
        that do not exist. So no row has to be selected, which would synchronise a GPU.
        """
        last = self.layout.side - 1
        target = rows.target
        if rows.ignored is not None:
            self.add("ignored", rows.ignored.sum())
            target = target.masked_fill(rows.ignored, -1)
        target = (target + 1).clamp_(0, last)
        predicted = torch.where(rows.finite, rows.predicted + 1, last)
        if rows.sure is None:  # hard labels may be anything
            predicted = torch.where((predicted > 0) & (predicted < last), predicted, last)
        right = (target == predicted) & (predicted < last)
        self._add_cells(target, predicted, right)
        if groups is not None:
            self._add_groups(groups, right, (target > 0) & (target < last))
        if rows.sure is not None:
            self._add_sureness(rows.sure, right, (target > 0) & (target < last) & rows.finite)
        return right

    def add_labels(self, scores: Tensor, target: Tensor, spec: Spec) -> Tensor:
        """Count a multilabel batch; a sample is right when every label that counts is; returns that as a bool column.

        Args:
            scores: (samples, labels), or (samples, labels, d1, ...), where each position has labels of its own.
            target: same shape, 0/1 (soft labels: 1 from 0.5 on).
            spec: how to read them.
        """
        scores, target = positions(scores, spec), positions(target, spec)
        usable = scores.isfinite() if scores.is_floating_point() else torch.ones_like(scores, dtype=torch.bool)
        decided, ignored = hard_labels(scores, spec.kind), spec.ignore_index
        counts = (target >= 0) & (target <= 1)
        skip = torch.zeros_like(counts) if ignored is None else target == ignored
        self.add("ignored", skip.sum())
        self.add("out_of_range", (~(counts | skip)).sum())
        counts = counts & ~skip
        truth, said = counts & (target >= 0.5), counts & usable & decided
        hits = counts & usable & (truth == said)
        right = (hits | ~counts).all(-1) & counts.any(-1)
        for row, mask in enumerate((truth, said, truth & said)):
            self.cells[row, 1:-1] += mask.sum(0)
        self.add("counted", counts.any(-1).sum())
        self.add("correct", right.sum())
        self.add("nonfinite", (counts & ~usable).any(-1).sum())
        self.add_sum("label_hits", hits.sum())
        self.add_sum("label_n", counts.sum())
        return right

    def _add_cells(self, target: Tensor, predicted: Tensor, right: Tensor) -> None:
        side = self.layout.side
        if self.layout.table:
            self.cells += histogram(target * side + predicted, side * side).view(side, side)
            return
        for row, column in enumerate((target, predicted, target * right)):
            self.cells[row] += histogram(column, side)

    def _add_groups(self, groups: Tensor, right: Tensor, inside: Tensor) -> None:
        size = self.layout.groups
        spare = torch.full_like(groups, size)
        known = (groups >= 0) & (groups < size)
        for row, mask in enumerate((right, inside)):
            self.groups[row] += histogram(torch.where(known & mask, groups, spare), size + 1)[:size]

    def _add_sureness(self, sure: Sureness, right: Tensor, usable: Tensor) -> None:
        if sure.index is not None:
            right, usable = right[sure.index], usable[sure.index]
        columns = torch.stack([usable, sure.confidence, right, sure.entropy])
        columns = torch.where(usable, columns, 0).to(self.sums.dtype)
        bucket = (columns[1] * BINS).long().clamp_(0, BINS - 1)
        self.bins.index_add_(1, bucket, columns)


def histogram(index: Tensor, size: int) -> Tensor:
    """How often each value in ``[0, size)`` occurs, int64, without synchronisation."""
    if index.is_cuda:  # bincount reads the largest value back to the host
        return torch.zeros(size, dtype=torch.int64, device=index.device).scatter_add_(0, index, torch.ones_like(index))
    return torch.bincount(index, minlength=size)
