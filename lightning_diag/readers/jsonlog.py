"""JSON logs: Hugging Face ``trainer_state.json``, Keras ``History.history``, JSON lines of anybody."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning_diag.errors import RecordError
from lightning_diag.readers.log import Log
from lightning_diag.readers.names import axis_of

MAX_BYTES = 128 * 1024 * 1024
MAX_NAME = 300


def read_json(path: Path) -> Log:
    """Read a JSON file or JSON lines.

    Raises:
        RecordError: it is too large, is not JSON, or holds no log.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RecordError(f"{path} is larger than {MAX_BYTES >> 20} MiB")
        data = path.read_bytes()
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror or error}") from error
    return json_log(data)


def json_log(data: bytes) -> Log:
    """The log in the bytes of a JSON file.

    Raises:
        RecordError: it is not JSON, or holds no log.
    """
    tree = _tree(data)
    if isinstance(tree, dict) and isinstance(tree.get("log_history"), list):
        return _hugging_face(tree)
    if isinstance(tree, dict) and isinstance(tree.get("history"), dict):
        tree = tree["history"]
    if isinstance(tree, list):
        return _rows(Log("JSON rows"), tree)
    return _columns(Log("JSON columns"), tree)


def _tree(data: bytes) -> Any:
    from pydantic_core import from_json

    try:
        return from_json(data)
    except ValueError as whole:
        rows = [line for line in data.splitlines() if line.strip(b"\0 \t\r\n")]
        if len(rows) < 2:
            raise RecordError(f"it is not JSON: {str(whole).splitlines()[0][:200]}") from whole
        return _json_lines(rows)


def _json_lines(rows: list[bytes]) -> list[Any]:
    from pydantic_core import from_json

    found = []
    for number, row in enumerate(rows, start=1):
        try:
            found.append(from_json(row))
        except ValueError as error:
            if number < len(rows):  # a torn last line is what a killed run leaves
                raise RecordError(f"line {number} is not JSON: {str(error).splitlines()[0][:200]}") from error
    return found


def _hugging_face(tree: Mapping[str, Any]) -> Log:
    log = Log("Hugging Face trainer state")
    best = tree.get("best_model_checkpoint")
    params = {"num_train_epochs": tree.get("num_train_epochs"), "train_batch_size": tree.get("train_batch_size")}
    log.params.update({name: str(value)[:200] for name, value in params.items() if value is not None})
    if isinstance(best, str):
        log.note(f"the trainer calls {best[-120:]} its best checkpoint")
    rows = [row for row in tree["log_history"] if isinstance(row, Mapping) and "train_runtime" not in row]
    return _rows(log, rows)


def _rows(log: Log, rows: Iterable[Any]) -> Log:
    """A list of objects, one per logging call."""
    number = 0
    for row in rows:
        if not isinstance(row, Mapping):
            continue
        number += 1
        epoch, step = _axis(row, "epoch"), _axis(row, "step")
        if math.isnan(epoch) and math.isnan(step):
            epoch = float(number)
        for name, value in row.items():
            _add(log, name, value, epoch, int(step) if 0 <= step < 2**62 else -1)
    return _filled(log)


def _columns(log: Log, tree: Any) -> Log:
    """An object of lists of the same length, as Keras keeps its history; nested one level by stage."""
    if not isinstance(tree, Mapping):
        raise RecordError("it holds no object with columns, and no list of rows")
    columns = {name: values for name, values in _nested(tree) if isinstance(values, list)}
    epochs = next((values for name, values in columns.items() if axis_of(name) == "epoch"), None)
    for name, values in columns.items():
        for i, value in enumerate(values):
            epoch = epochs[i] if epochs and i < len(epochs) and _is_number(epochs[i]) else i + 1
            _add(log, name, value, float(epoch), -1)
    if epochs is None:
        log.note("it has no epochs: its entries are taken as epochs 1, 2, 3 ...")
    return _filled(log)


def _nested(tree: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}/{inner}", values) for inner, values in value.items())
        else:
            yield name, value


def _add(log: Log, name: str, value: object, epoch: float, step: int) -> None:
    number = _number(value)
    if number is not None:
        log.add(name[:MAX_NAME], number, epoch=epoch, step=step)
    elif value is not None and len(log.skipped) < 1000:
        log.skipped.setdefault(name[:MAX_NAME], "not a number")


def _axis(row: Mapping[str, Any], axis: str) -> float:
    found = next((value for name, value in row.items() if axis_of(name) == axis), None)
    return math.nan if not _is_number(found) else _number(found) or 0.0


def _is_number(value: object) -> bool:
    return _number(value) is not None


def _number(value: object) -> float | None:
    """A number; a list of one number, as some loggers write it, counts."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str) and value.lower() in {"nan", "inf", "infinity", "-inf", "-infinity"}:
        return float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _filled(log: Log) -> Log:
    if not log.columns:
        raise RecordError("there is no column of numbers in it")
    for name in [name for name in log.skipped if name in log.columns]:
        del log.skipped[name]
    return log
