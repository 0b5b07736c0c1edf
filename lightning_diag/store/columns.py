"""Per-class rows, confusions and matrices as columns of integers in a string.

A JSON parser passes over a string a hundred times faster than over a list of small objects, and in a long run most of
these columns are thinned away before anybody looks at them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from lightning_diag.errors import RecordError
from lightning_diag.history import ClassRows, Confusions, Matrix, StageRecord
from lightning_diag.history.tables import MAX_INT
from lightning_diag.thinning import weight

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_OURS = b"0123456789 "
_LONGEST = len(str(MAX_INT)) + 1


def pack(stage: StageRecord) -> dict[str, str]:
    """The non-empty columns of an evaluation.

    ``classes`` as ``index;support;predicted;correct`` (nothing for ``predicted`` where a row does not know it), ``confusions`` as ``target;predicted;count``, ``matrix`` by row.
    """
    packed = {}
    if stage.classes:
        columns = stage.classes.columns()
        packed["classes"] = ";".join("" if -1 in column else " ".join(map(str, column)) for column in columns)
    if stage.confusions:
        packed["confusions"] = ";".join(" ".join(map(str, column)) for column in stage.confusions.columns())
    if stage.matrix:
        packed["matrix"] = ";".join(" ".join(map(str, row)) for row in stage.matrix)
    return packed


class Packed(NamedTuple):
    """Class rows and matrix of an evaluation as text, and what they weigh (:mod:`lightning_diag.thinning`)."""

    classes: str
    matrix: str
    weight: int

    @classmethod
    def of(cls, classes: str, matrix: str) -> Packed:
        """These texts, which are not read yet.

        Raises:
            RecordError: a text is longer than that many integers can be, and would be held without being counted.
        """
        rows = classes.partition(";")[0].count(" ") + 1 if classes else 0
        cells = matrix.count(" ") + matrix.count(";") + 1 if matrix else 0
        if len(classes) > 4 * rows * _LONGEST or len(matrix) > cells * _LONGEST:
            raise RecordError("class rows or a confusion matrix are not columns of integers of 64 bits")
        return cls(classes, matrix, weight(4 * rows + cells))


def class_rows(text: str) -> ClassRows:
    """The rows that ``text`` packs.

    Raises:
        RecordError: it packs none.
    """
    if not text:
        return ClassRows()
    columns = text.split(";")
    known = columns[2:3] != [""]
    try:
        table = _integers(columns if known else [*columns[:2], *columns[3:]], 4 if known else 3)
    except ValueError as error:
        raise RecordError("class rows are not four columns of integers of the same length") from error
    if (table[-1] > table[1:-1].min(axis=0)).any():
        raise RecordError("a class row counts more correct than there are, or than were predicted")
    if known:
        return ClassRows.of_numbers(table.T)
    import numpy as np

    return ClassRows.of_numbers(np.insert(table, 2, -1, axis=0).T)


def confusions(text: str) -> Confusions:
    """The confusions that ``text`` packs.

    Raises:
        RecordError: it packs none.
    """
    try:
        return Confusions.of_numbers(_integers(text.split(";"), 3).T)
    except ValueError as error:
        raise RecordError("confusions are not three columns of integers of the same length") from error


def matrix_rows(text: str) -> Matrix:
    """The matrix that ``text`` packs.

    Raises:
        RecordError: it packs none.
    """
    if not text:
        return Matrix()
    rows = text.split(";")
    try:
        return Matrix.of_numbers(_integers(rows, len(rows[0].split())))
    except ValueError as error:
        raise RecordError("a confusion matrix is not as many rows of integers as columns") from error


def _integers(texts: Sequence[str], count: int) -> NDArray[np.int64]:
    """The integers of ``count`` texts of the same length, of shape ``(count, length)``.

    numpy reads them ten times faster than ``int``, but takes a blank for 0, stops at anything else and cuts off at 64
    bits; so each of these is looked for.

    Raises:
        ValueError: there are more or fewer texts, they differ in length, or one holds anything but integers from 0 to
            2**63 - 1 with one blank between.
    """
    import numpy as np

    blanks, text = texts[0].count(" "), " ".join(texts)
    if (
        len(texts) != count
        or any(other.count(" ") != blanks for other in texts)
        or text.encode().translate(None, _OURS)
    ):
        raise ValueError("expected columns of digits and blanks, all of one length")
    numbers = np.fromstring(text, np.int64, sep=" ")
    if numbers.size != count * (blanks + 1):
        raise ValueError("expected one blank between two numbers")
    if numbers.max() == MAX_INT and max(map(int, text.split())) > MAX_INT:
        raise ValueError("expected integers of 64 bits")
    return numbers.reshape(count, -1)
