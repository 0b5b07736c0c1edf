"""Per-class rows and matrices as columns of integers in a string.

A JSON parser passes over a string a hundred times faster than over a list of small objects, and in a long run most of
these columns are thinned away before anybody looks at them.
"""

from __future__ import annotations

from collections.abc import Mapping

from lightning_diag.errors import RecordError
from lightning_diag.history import ClassRow, StageRecord

MAX_INT = 2**63 - 1


def pack(stage: StageRecord) -> dict[str, str]:
    """The non-empty columns of an evaluation: ``classes`` as ``index;support;predicted;correct``, ``matrix`` by row."""
    packed = {}
    if stage.classes:
        columns = zip(*((r.index, r.support, r.predicted, r.correct) for r in stage.classes), strict=True)
        packed["classes"] = ";".join(" ".join(map(str, column)) for column in columns)
    if stage.matrix:
        packed["matrix"] = ";".join(" ".join(map(str, row)) for row in stage.matrix)
    return packed


def packed_weight(packed: Mapping[str, tuple[str, str]]) -> int:
    """Rows in the packed text, as :func:`lightning_diag.thinning.row_weight` counts them."""
    rows = sum(classes.partition(";")[0].count(" ") + 1 for classes, _ in packed.values() if classes)
    return rows + sum((matrix.count(" ") + matrix.count(";") + 1) // 8 for _, matrix in packed.values() if matrix)


def class_rows(text: str) -> tuple[ClassRow, ...]:
    """The rows that ``text`` packs.

    Raises:
        RecordError: it packs none.
    """
    if not text:
        return ()
    try:
        index, support, predicted, correct = map(_integers, text.split(";"))
        if any(c > s or c > p for c, s, p in zip(correct, support, predicted, strict=True)):
            raise RecordError("a class row counts more correct than there are, or than were predicted")
        return tuple(
            ClassRow(index=i, support=s, predicted=p, correct=c)
            for i, s, p, c in zip(index, support, predicted, correct, strict=True)
        )
    except ValueError as error:
        raise RecordError("class rows are not four columns of integers of the same length") from error


def matrix_rows(text: str) -> tuple[tuple[int, ...], ...]:
    """The matrix that ``text`` packs.

    Raises:
        RecordError: it packs none.
    """
    try:
        rows = tuple(tuple(_integers(row)) for row in text.split(";")) if text else ()
    except ValueError as error:
        raise RecordError("a confusion matrix is not rows of integers") from error
    if any(len(row) != len(rows) for row in rows):
        raise RecordError("a confusion matrix has not as many rows of integers as columns")
    return rows


def _integers(text: str) -> list[int]:
    numbers = list(map(int, text.split()))
    if any(not 0 <= n <= MAX_INT for n in (min(numbers, default=0), max(numbers, default=0))):
        raise ValueError("out of range")
    return numbers
