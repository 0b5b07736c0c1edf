"""CSV logs: Lightning, Keras, YOLO and everybody's own."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path

from lightning_diag.errors import RecordError
from lightning_diag.readers.log import MAX_COLUMNS, Log
from lightning_diag.readers.names import axis_of

MAX_LINE = 1 << 20
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?%?$")
_WORDS = {
    "nan": math.nan,
    "inf": math.inf,
    "+inf": math.inf,
    "-inf": -math.inf,
    "infinity": math.inf,
    "-infinity": -math.inf,
}
_TENSOR = re.compile(r"tensor\(\s*([^,()\s]+)[^()]*\)$")
_DELIMITERS = ",;\t|"


def read_csv(path: Path, kind: str) -> Log:
    """Read a table with a header line and a row per epoch, step or logging call.

    Raises:
        RecordError: it is no such table.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            return table(_lines(file), kind)
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror or error}") from error


def table(lines: Iterable[str], kind: str) -> Log:
    """The log in the lines of a delimited table.

    Raises:
        RecordError: there is no header, or no row of numbers below it.
    """
    try:
        return _table(iter(lines), kind)
    except csv.Error as error:
        raise RecordError(f"it is not a table: {error}") from error


def _table(lines: Iterator[str], kind: str) -> Log:
    header = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    delimiter = max(_DELIMITERS, key=header.count)
    names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
    if len(names) < 2 or len(names) > MAX_COLUMNS or sum(parse(n)[0] is None for n in names) < 2:
        raise RecordError("its first line is not a header of at least two column names")
    log = Log(kind)
    rows = _Rows(log, _unique(names), comma=delimiter in ";\t")
    for row in csv.reader(lines, delimiter=delimiter):
        rows.add(row)
    rows.finish()
    return log


def parse(text: str, *, comma: bool = False) -> tuple[float | None, int]:
    """(value, printed decimals) of a cell; None for text and blanks. ``12.5%`` is 12.5, ``tensor(0.5)`` is 0.5."""
    cell = text.strip()
    wrapped = _TENSOR.match(cell)
    cell = wrapped.group(1) if wrapped else cell
    cell = cell.replace(",", ".", 1) if comma else cell
    if not _NUMBER.match(cell) or len(cell) > 400:
        return _WORDS.get(cell.lower()), 0
    try:
        number = Decimal(cell.rstrip("%"))
    except InvalidOperation:
        return None, 0
    exponent = number.as_tuple().exponent
    return float(number), max(0, -exponent) if isinstance(exponent, int) else 0


class _Rows:
    """Adds rows to a log; remembers which column counts epochs and which counts steps."""

    def __init__(self, log: Log, names: list[str], *, comma: bool) -> None:
        self._log, self._names, self._comma = log, names, comma
        self._epoch = _axis(names, "epoch")
        self._step = _axis(names, "step")
        self._texts: dict[str, tuple[int, str]] = {}  # name -> (cells with text, the first of them)
        self._number = 0

    def add(self, row: list[str]) -> None:
        cells = [parse(cell, comma=self._comma) for cell in row[: len(self._names)]]
        if not any(value is not None for value, _ in cells):
            return
        self._number += 1
        epoch = self._at(cells, self._epoch)
        step = self._at(cells, self._step)
        if self._epoch is None and self._step is None:
            epoch = float(self._number)
        for name, (value, decimals), cell in zip(self._names, cells, row, strict=False):
            if value is not None:
                whole = int(step) if math.isfinite(step) and 0 <= step < 2**62 else -1
                self._log.add(name, value, epoch=epoch, step=whole, decimals=decimals)
            elif cell.strip():
                count, first = self._texts.get(name, (0, cell.strip()[:40]))
                self._texts[name] = (count + 1, first)

    def finish(self) -> None:
        """Name the columns without a number; explain numbered rows."""
        if not self._log.columns:
            raise RecordError("there is no row of numbers in it")
        for name in self._names:
            if name not in self._log.columns:
                self._log.skipped[name or "(no name)"] = "text" if name in self._texts else "empty"
            elif name in self._texts:
                count, first = self._texts[name]
                cells = "1 cell holds no number and is" if count == 1 else f"{count:,} cells hold no number and are"
                self._log.note(f"column {name!r}: {cells} left out, the first {first!r}")
        if self._epoch is None and self._step is None:
            self._log.note("it has no epoch column: its rows are taken as epochs 1, 2, 3 ...")

    @staticmethod
    def _at(cells: list[tuple[float | None, int]], index: int | None) -> float:
        value = cells[index][0] if index is not None and index < len(cells) else None
        return math.nan if value is None else value


def _axis(names: list[str], axis: str) -> int | None:
    return next((i for i, name in enumerate(names) if axis_of(name) == axis), None)


def _unique(names: list[str]) -> list[str]:
    """Repeated names get their position, so that none hides another."""
    return [name if names.index(name) == i else f"{name}.{i}" for i, name in enumerate(names)]


def _lines(file: Iterable[str]) -> Iterator[str]:
    """Lines of bounded length; zero bytes (a torn tail) are passed over."""
    readline = file.readline  # type: ignore[attr-defined]  # a text file
    while line := readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            raise RecordError(f"a line is longer than {MAX_LINE >> 20} MiB")
        yield line.replace("\0", "")
