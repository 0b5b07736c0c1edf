"""Which epochs keep their per-class rows when a run is too long to keep all of them.

Per-class rows and confusion matrices are all that grows with *epochs × classes*. They are kept in full up to
:data:`CLASS_ROWS` rows; beyond that at the first, the best and the last epoch and at every k-th one, k a power of two.
Scalars, counts and the most frequent confusions are always kept. The choice depends on what each epoch weighed when it
was recorded, so that thinning while a run goes on and thinning the whole record afterwards give the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lightning_diag.history import ClassRows, EpochRecord, Matrix, RunHistory, StageRecord

CLASS_ROWS = 4_000_000
"""Rows kept in full: two million class-epochs, each with a row of training and one of validation. A row takes 8 bytes
where no count is above 32,767, 16 where none is above 2**31 - 1, else 32: they take 32 to 128 MB."""

SLACK = 1.25
"""Times :data:`CLASS_ROWS` that may gather before some are left out: to look at each epoch takes time."""

_INTEGERS_PER_ROW = 4


def weight(integers: int) -> int:
    """What tables of so many integers weigh, in class rows: a row is four integers, a cell of a matrix is one."""
    return integers // _INTEGERS_PER_ROW


def held(stage: StageRecord) -> int:
    """What the rows and the matrix of an evaluation weigh."""
    return weight(stage.classes.size + stage.matrix.size)


def recorded(record: EpochRecord) -> int:
    """What those of an epoch weighed before any were left out."""
    return sum(held(stage) + stage.thinned for stage in record.stages.values())


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


def kept_epochs(history: RunHistory, weights: Sequence[int], limit: int = CLASS_ROWS) -> frozenset[int]:
    """Positions of the epochs that keep their rows; ``weights`` as :func:`recorded` gives them."""
    best = history.best_record()
    always = [i for i, record in enumerate(history.epochs) if record is best]
    return kept_positions(weights, always, limit)


def thin(history: RunHistory, limit: int = CLASS_ROWS) -> RunHistory:
    """The same history with at most about ``limit`` class rows; the same object when they all fit."""
    weights = [recorded(record) for record in history.epochs]
    if sum(weights) <= limit:
        return history
    kept = kept_epochs(history, weights, limit)
    epochs = tuple(record if i in kept else _without_rows(record) for i, record in enumerate(history.epochs))
    return replace(history, epochs=epochs)


def without_rows(stage: StageRecord, rows: int) -> StageRecord:
    """The evaluation without class rows and matrix, which weighed ``rows``; counts and frequent confusions stay."""
    return replace(stage, classes=ClassRows(), matrix=Matrix(), thinned=stage.thinned + rows)


def notes(history: RunHistory) -> tuple[str, ...]:
    """The notes of the record, and in how many epochs rows were left out."""
    thinned = sum(1 for record in history.epochs if any(stage.thinned for stage in record.stages.values()))
    if not thinned:
        return history.context.notes
    total, epochs = sum(map(recorded, history.epochs)), len(history.epochs)
    text = (
        f"per-class rows are kept for {epochs - thinned:,} of {epochs:,} epochs (the first, the best, the last and evenly "
        f"spaced ones): the whole record would be {total:,} rows"
    )
    return (*history.context.notes, text)


def _without_rows(record: EpochRecord) -> EpochRecord:
    """The same record where there is nothing to leave out."""
    full = {name: stage for name, stage in record.stages.items() if stage.classes or stage.matrix}
    if not full:
        return record
    return replace(record, stages={**record.stages, **{k: without_rows(s, held(s)) for k, s in full.items()}})
