"""Per-class rows and matrices as columns of integers in a string.

A JSON parser passes over a string a hundred times faster than over a list of small objects, and in a long run most of
these columns are thinned away before anybody looks at them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from operator import le
from typing import TypeVar

from lightning_diag.errors import RecordError
from lightning_diag.history import ClassRow, Confusion, StageRecord

_T = TypeVar("_T")
MAX_INT = 2**63 - 1
SHARED = 2**16
"""Different integers that are kept to be shared (8 MB)."""


def pack(stage: StageRecord) -> dict[str, str]:
    """The non-empty columns of an evaluation.

    ``classes`` as ``index;support;predicted;correct`` (nothing for ``predicted`` where a row does not know it), ``confusions`` as ``target;predicted;count``, ``matrix`` by row.
    """
    packed = {}
    if stage.classes:
        columns = zip(*((r.index, r.support, r.predicted, r.correct) for r in stage.classes), strict=True)
        packed["classes"] = ";".join("" if None in column else " ".join(map(str, column)) for column in columns)
    if stage.confusions:
        columns = zip(*((c.target, c.predicted, c.count) for c in stage.confusions), strict=True)
        packed["confusions"] = ";".join(" ".join(map(str, column)) for column in columns)
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
        texts = text.split(";")
        index, support, predicted, correct = *map(_repeated, texts[:2]), *map(_integers, texts[2:])
        if not (all(map(le, correct, support)) and all(map(le, correct, predicted or support))):
            raise RecordError("a class row counts more correct than there are, or than were predicted")
        known: Sequence[int | None] = predicted or [None] * len(index)
        return _filled(ClassRow, ("index", "support", "predicted", "correct"), (index, support, known, correct))
    except ValueError as error:
        raise RecordError("class rows are not four columns of integers of the same length") from error


def confusions(text: str) -> tuple[Confusion, ...]:
    """The confusions that ``text`` packs.

    Raises:
        RecordError: it packs none.
    """
    try:
        columns = [_integers(column) for column in text.split(";")]
        return _filled(Confusion, ("target", "predicted", "count"), columns)
    except ValueError as error:
        raise RecordError("confusions are not three columns of integers of the same length") from error


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


def _filled(kind: type[_T], names: Sequence[str], columns: Sequence[Sequence[int | None]]) -> tuple[_T, ...]:
    """Objects of a slotted dataclass whose fields are the columns.

    The constructor of a frozen dataclass takes a microsecond, and a long run has a million rows: their slots are filled
    column by column instead.

    Raises:
        ValueError: there is not one column for each field, or they differ in length.
    """
    if len({len(column) for column in columns}) != 1:
        raise ValueError("the columns differ in length")
    rows = list(map(object.__new__, repeat(kind, len(columns[0]))))
    for name, column in zip(names, columns, strict=True):
        deque(map(getattr(kind, name).__set__, rows, column), maxlen=0)
    return tuple(rows)


class _Integers(dict[str, int]):
    """Integers by their text: counts repeat, and a shared object takes no room."""

    def __missing__(self, text: str) -> int:
        number = int(text)
        if not 0 <= number <= MAX_INT:
            raise ValueError("out of range")
        if len(self) < SHARED:
            self[text] = number
        return number


_NUMBERS = _Integers()


def _integers(text: str) -> list[int]:
    return list(map(_NUMBERS.__getitem__, text.split()))


@lru_cache(maxsize=8)
def _same(text: str) -> list[int]:
    return _integers(text)


def _repeated(text: str) -> list[int]:
    """The integers of a column that is the same in one epoch after another: the numbers of the classes, their support."""
    return _same(text) if len(text) < SHARED else _integers(text)
