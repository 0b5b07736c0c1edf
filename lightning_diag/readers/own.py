"""The library's own record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lightning_diag.errors import ConfigError
from lightning_diag.history import RunHistory
from lightning_diag.readers.building import Told
from lightning_diag.readers.log import ReadReport
from lightning_diag.store import read_history
from lightning_diag.thinning import notes


def read_own(path: Path, told: Told, which: str | None = None) -> tuple[RunHistory, ReadReport]:
    """Read ``history.jsonl``; what the user says fills in what the record does not know.

    Args:
        path: the file.
        told: what the user says.
        which: a note on why this run of several was read.

    Raises:
        RecordError: it is no such record.
        ConfigError: columns are mapped, which our own record does not need.
    """
    if told.mapping:
        raise ConfigError(f"{path} is a record of lightning_diag: its signals have their names, leave the mapping out")
    history = read_history(path)
    context = history.context
    data = replace(
        context.data,
        train=replace(context.data.train, size=context.data.train.size or told.n_train),
        val=replace(context.data.val, size=context.data.val.size or told.n_val),
    )
    history = replace(history, context=replace(context, data=data, classes=context.classes or told.classes))
    told_of = (*([which] if which else []), *(note for note in notes(history) if "record" in note))
    return told.completed(history), ReadReport(kind="lightning_diag record", path=str(path), notes=told_of)
