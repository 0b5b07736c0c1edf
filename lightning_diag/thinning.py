"""Which epochs keep their per-class rows when a run is too long to keep all of them.

Per-class rows and confusion matrices are all that grows with *epochs × classes*. They are kept in full up to
:data:`CLASS_ROWS` rows; beyond that at the first, the best and the last epoch and at every k-th one, k a power of two.
Scalars and counts are always kept. The choice depends on the position alone, so that thinning while a run goes on and
thinning the whole record afterwards give the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lightning_diag.history import RunHistory, StageRecord

CLASS_ROWS = 1_000_000
"""Rows kept in full. A row takes about 70 bytes in memory: 10⁶ of them leave room for the scalars of a long run in 200 MB."""

_CELLS_PER_ROW = 8  # a matrix cell is one pointer, a class row an object of eight words


def row_weight(stage: StageRecord) -> int:
    """What the rows of an evaluation weigh, in class rows."""
    return len(stage.classes) + sum(map(len, stage.matrix)) // _CELLS_PER_ROW


def kept_positions(weights: Sequence[int], always: Sequence[int] = (), limit: int = CLASS_ROWS) -> frozenset[int]:
    """Positions whose rows are kept.

    Args:
        weights: rows of each record, in order.
        always: positions that stay whatever their weight (the best epoch).
        limit: rows that may be kept in all, the first, the last and ``always`` not counted.

    Returns:
        every position when all fit; else each k-th one for the smallest power of two k that fits, plus ``always`` and
        the last.
    """
    stride = 1
    while stride < len(weights) and sum(weights[::stride]) > limit:
        stride *= 2
    return frozenset(range(0, len(weights), stride)) | {*always, *([len(weights) - 1] if weights else [])}


def thin(history: RunHistory, limit: int = CLASS_ROWS) -> RunHistory:
    """The same history with at most about ``limit`` class rows; the same object when they all fit."""
    weights = [sum(map(row_weight, record.stages.values())) for record in history.epochs]
    if sum(weights) <= limit:
        return history
    best = history.best_record()
    always = [i for i, record in enumerate(history.epochs) if record is best]
    kept = kept_positions(weights, always, limit)
    epochs = tuple(
        record if i in kept else replace(record, stages={k: without_rows(s) for k, s in record.stages.items()})
        for i, record in enumerate(history.epochs)
    )
    return replace(history, epochs=epochs)


def without_rows(stage: StageRecord) -> StageRecord:
    """The evaluation without per-class rows and matrix; its counts and most frequent confusions stay."""
    return replace(stage, classes=(), matrix=())
