"""Values to lines, and lines to the file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from lightning_diag.errors import RecordError
from lightning_diag.history import SCHEMA_VERSION, EpochRecord, RunContext, RunHistory
from lightning_diag.store.columns import pack

if TYPE_CHECKING:
    from pydantic import TypeAdapter


def append_epoch(path: str | os.PathLike[str], record: EpochRecord) -> None:
    """Append one epoch to ``history.jsonl``.

    Raises:
        OSError: the file cannot be written.
        RecordError: the record holds something that is not a plain number or text.
    """
    _append(path, _epoch_line(record))


def append_context(path: str | os.PathLike[str], context: RunContext) -> None:
    """Append what is known about the run; the last context in a file wins.

    Raises:
        OSError: the file cannot be written.
        RecordError: the context holds something that is not a plain number or text.
    """
    _append(path, _context_line(context))


def history_to_lines(history: RunHistory) -> list[str]:
    """The lines of ``history.jsonl``, without line ends."""
    return [_context_line(history.context), *map(_epoch_line, history.epochs)]


def _append(path: str | os.PathLike[str], line: str) -> None:
    """One write of whole lines; a line that an earlier crash tore is closed first."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("a+b") as file:
        start = b"" if _ends_with_newline(file) else b"\n"
        file.write(start + line.encode() + b"\n")
        file.flush()


def _ends_with_newline(file: BinaryIO) -> bool:
    if file.seek(0, os.SEEK_END) == 0:
        return True
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _context_line(context: RunContext) -> str:
    return _dump("context", adapter(RunContext), context, {})


def _epoch_line(record: EpochRecord) -> str:
    packed = {name: pack(stage) for name, stage in record.stages.items()}
    return _dump("epoch", adapter(EpochRecord), record, packed)


def _dump(kind: str, kind_adapter: TypeAdapter[Any], value: object, packed: Mapping[str, Mapping[str, str]]) -> str:
    from pydantic_core import PydanticSerializationError, to_json

    left_out = {"stages": {"__all__": {"classes", "matrix", "confusions"}}} if packed else None
    try:
        plain = kind_adapter.dump_python(value, exclude_defaults=True, exclude=left_out, warnings="error")
        for name, columns in packed.items():
            plain["stages"][name].update(columns)
        return to_json({"type": kind, "version": SCHEMA_VERSION, **plain}, inf_nan_mode="strings").decode()
    except (PydanticSerializationError, UnicodeEncodeError) as error:
        raise RecordError(f"cannot write this {kind}: {error}. Give plain numbers and text.") from error


@cache
def adapter(kind: type) -> TypeAdapter[Any]:
    """Pydantic's reader and writer of ``kind``, built once."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
