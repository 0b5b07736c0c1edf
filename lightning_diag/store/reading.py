"""Lines to a history, within bounds and with clear errors."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from lightning_diag.errors import RecordError
from lightning_diag.garbage import without_collections
from lightning_diag.history import SCHEMA_VERSION, EpochRecord, RunContext, RunHistory, StageRecord
from lightning_diag.history.tables import MAX_INT
from lightning_diag.store.columns import Packed, class_rows, confusions, matrix_rows
from lightning_diag.store.writing import adapter
from lightning_diag.thinning import CLASS_ROWS, SLACK, kept_epochs, recorded, without_rows

MAX_LINE = 32 * 1024 * 1024
"""Longest line that is read, in bytes: 100,000 classes in two stages take about 4 MB."""
MAX_BYTES = 256 * 1024 * 1024
"""Most bytes read from one record, class columns not counted; 10,000 epochs of 40 scalars take about 10 MB."""

_Stages = dict[str, Packed]
_BLANK = b"\0 \t\r\n"


def read_history(path: str | os.PathLike[str]) -> RunHistory:
    """Read ``history.jsonl`` as far as it was written.

    A torn line and fields of a newer version are left out, with a note in ``context.notes``.

    Raises:
        RecordError: the file cannot be read, or is not such a record; the message names the line.
    """
    try:
        with Path(path).open("rb", buffering=2**20) as file, without_collections():
            return lines_to_history(_bounded_lines(file))
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror or error}") from error
    except RecordError as error:
        raise RecordError(f"{path}: {error}") from error


def lines_to_history(lines: Iterable[str | bytes], class_rows: int = CLASS_ROWS) -> RunHistory:
    """The history that ``lines`` record.

    Args:
        lines: lines of ``history.jsonl``, with or without line ends.
        class_rows: class rows kept in full; beyond that see :mod:`lightning_diag.thinning`.

    Raises:
        RecordError: a line is not part of such a record.
    """
    reader = _Reader(class_rows)
    for number, line in enumerate(lines, start=1):
        text = line.encode(errors="surrogatepass") if isinstance(line, str) else line
        if not text.startswith(b"{"):  # (to strip a line is to copy it)
            text = text.strip(_BLANK)
        if text:
            reader.line(number, text)
    return reader.history()


def _bounded_lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            raise RecordError(f"a line is longer than {MAX_LINE >> 20} MiB; this is not a history.jsonl")
        yield line


@dataclass
class _Reader:
    """Builds the history line by line; class columns stay text until it is known which are kept."""

    class_rows: int
    context: RunContext | None = None
    records: list[EpochRecord] = field(default_factory=list)
    packed: list[_Stages] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)  # before any rows were left out
    notes: list[str] = field(default_factory=list)
    new_fit: bool = False
    size: int = 0
    held: int = 0

    def line(self, number: int, text: bytes) -> None:
        payload = _parse(number, text)
        if payload is None:
            self._note(f"line {number} of the record is torn (the run was cut off there) and was left out")
            return
        try:
            self._add(payload, len(text))
        except (ValueError, RecordError) as error:  # pydantic's ValidationError is a ValueError
            raise RecordError(f"line {number}: {_first_line(error)}") from error

    def _add(self, payload: dict[str, Any], size: int) -> None:
        kind, version = payload.pop("type", None), payload.pop("version", SCHEMA_VERSION)
        if kind == "context":
            self._add_context(payload)
        elif kind == "epoch":
            self._add_epoch(payload, size)
        elif isinstance(kind, str) and isinstance(version, int) and version > SCHEMA_VERSION:
            self._note(f"lines of type {kind[:40]!r} come from a newer version and were left out")
        else:
            raise RecordError('expected "type" to be "context" or "epoch"')

    def _add_context(self, payload: dict[str, Any]) -> None:
        _check_numbers(payload)
        self._note_unknown(payload, RunContext)
        context: RunContext = adapter(RunContext).validate_python(payload)
        self.new_fit = self.new_fit or (self.context is not None and _fit(context) != _fit(self.context))
        self.context = context

    def _add_epoch(self, payload: dict[str, Any], size: int) -> None:
        packed = _take_packed(payload)
        self.size += size - sum(len(text.classes) + len(text.matrix) for text in packed.values())
        if self.size > MAX_BYTES:
            raise RecordError(f"the record is larger than {MAX_BYTES >> 20} MiB")
        _check_numbers(payload)
        self._note_unknown(payload, EpochRecord)
        record: EpochRecord = adapter(EpochRecord).validate_python(payload)
        for name in record.stages:
            self._note_unknown(payload["stages"][name], StageRecord)
        self._append(record, packed)

    def _append(self, record: EpochRecord, packed: _Stages) -> None:
        if self.new_fit:
            self._discard_from(record)
        self.records.append(record)
        self.packed.append(packed)
        holds = sum(text.weight for text in packed.values())
        self.weights.append(holds + recorded(record))
        self.held += holds
        if self.held > SLACK * self.class_rows:
            self._thin()

    def _discard_from(self, first: EpochRecord) -> None:
        """A new fit repeats from ``first`` on: what was recorded there before does not count."""
        self.new_fit = False
        kept = next((i for i, r in enumerate(self.records) if _not_before(r, first)), len(self.records))
        for column in (self.records, self.packed, self.weights):
            del column[kept:]
        self.held = self._holds()

    def _thin(self) -> None:
        history = RunHistory(context=self.context or RunContext(), epochs=tuple(self.records))
        kept = kept_epochs(history, self.weights, self.class_rows)
        for i in (i for i, packed in enumerate(self.packed) if packed and i not in kept):
            stages = self.records[i].stages
            thinned = {name: without_rows(stages[name], text.weight) for name, text in self.packed[i].items()}
            self.records[i] = replace(self.records[i], stages={**stages, **thinned})
            self.packed[i] = {}
        self.held = self._holds()

    def _holds(self) -> int:
        return sum(text.weight for packed in self.packed for text in packed.values())

    def _note(self, text: str) -> None:
        if text not in self.notes and len(self.notes) < 20:
            self.notes.append(text)

    def _note_unknown(self, payload: object, owner: type) -> None:
        unknown = payload.keys() - _names(owner) if isinstance(payload, dict) else ()
        if unknown:
            names = sorted(str(name)[:40] for name in unknown)
            self._note(f"fields of a newer version were left out: {', '.join(names[:5])}")

    def history(self) -> RunHistory:
        if self.context is None and not self.records:
            raise RecordError("there is no line of a record in it")
        if sum(self.weights) > self.class_rows:
            self._thin()
        context = self.context or RunContext()
        if self.notes:
            context = replace(context, notes=(*context.notes, *self.notes))
        with without_collections():
            return RunHistory(context=context, epochs=tuple(self._unpacked()))

    def _unpacked(self) -> Iterator[EpochRecord]:
        """The records with their rows and matrices; each text is let go when it is read."""
        for at, record in enumerate(self.records):
            packed, self.packed[at] = self.packed[at], {}
            stages = {
                name: replace(record.stages[name], classes=class_rows(text.classes), matrix=matrix_rows(text.matrix))
                for name, text in packed.items()
            }
            yield replace(record, stages={**record.stages, **stages}) if stages else record


@cache
def _names(owner: type) -> frozenset[str]:
    return frozenset(f.name for f in fields(owner))


def _fit(context: RunContext) -> tuple[object, ...]:
    """What differs between two fits recorded in one file."""
    return context.started, context.resumed_from, context.resumed_epoch


def _not_before(record: EpochRecord, first: EpochRecord) -> bool:
    if record.epoch != first.epoch or record.step is None or first.step is None:
        return record.epoch >= first.epoch
    return record.step >= first.step


def _parse(number: int, text: bytes) -> dict[str, Any] | None:
    """The object of a line; None for a torn one, which is the beginning of one of ours."""
    from pydantic_core import from_json

    try:
        payload = from_json(text)
    except ValueError as error:
        begins_like_ours = text.startswith(b'{"type":') or b'{"type":'.startswith(text)
        if begins_like_ours and ("EOF" in str(error) or not text.rstrip(_BLANK).endswith(b"}")):
            return None
        raise RecordError(f"line {number} is not JSON: {_first_line(error)}") from error
    if not isinstance(payload, dict):
        raise RecordError(f"line {number} is not a JSON object")
    return payload


def _take_packed(payload: dict[str, Any]) -> _Stages:
    """Take class rows and matrices out of the payload, as they are; the few confusions are unpacked where they stand."""
    stages = payload.get("stages")
    if not isinstance(stages, dict):
        return {}
    packed = {}
    for name, stage in stages.items():
        if isinstance(stage, dict):
            columns = stage.pop("classes", ""), stage.pop("matrix", "")
            if not all(isinstance(column, str) for column in columns):
                raise RecordError(f"stage {name[:40]!r}: expected class rows and matrix as text columns")
            if any(columns):
                packed[name] = Packed.of(*columns)
            if isinstance(stage.get("confusions"), str):
                stage["confusions"] = confusions(stage["confusions"])
    return packed


def _check_numbers(value: dict[str, Any] | list[Any]) -> None:
    """Counts and epochs beyond 64 bits are not ours; arithmetic on them would not end."""
    items = list(value.values()) if isinstance(value, dict) else value
    kinds = set(map(type, items))
    if int in kinds and any(abs(item) > MAX_INT for item in items if type(item) is int):
        raise RecordError("a number is larger than 64 bits")
    if dict in kinds or list in kinds:
        for item in items:
            if isinstance(item, (dict, list)):
                _check_numbers(item)


def _first_line(error: Exception) -> str:
    """A validation error in one line."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part)[:40] for part in first["loc"])
        return f"{where}: {first['msg']}"
    return str(error).split("\n", 1)[0][:200]
