"""MLflow runs in its SQLite store (``mlflow.db``, the default since the file store is in maintenance), read without MLflow."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from lightning_diag.errors import RecordError
from lightning_diag.readers.log import Log
from lightning_diag.readers.params import MAX_PARAMS

MAX_RUNS = 10_000
_LARGEST = 1.7976931348623157e308  # MLflow stores infinities as this


def runs_in(path: Path) -> list[str]:
    """Identifiers of the runs, oldest first; empty when the file is no MLflow store."""
    query = "SELECT run_uuid FROM runs WHERE lifecycle_stage = 'active' ORDER BY start_time LIMIT ?"
    try:
        return [str(row[0]) for row in _rows(path, query, (MAX_RUNS,))]
    except RecordError:
        return []


def read_mlflow_db(path: Path, run: str) -> Log:
    """Read one run of the store.

    Raises:
        RecordError: it has no metrics, or the file is no MLflow store.
    """
    log = Log("MLflow run")
    query = "SELECT key, value, step, is_nan FROM metrics WHERE run_uuid = ? ORDER BY step, timestamp"
    for key, value, step, is_nan in _rows(path, query, (run,)):
        name = str(key)[:300]
        if not name.startswith("system/") and isinstance(value, (int, float)) and isinstance(step, int):
            log.add(name, math.nan if is_nan else _number(float(value)), step=step)
    if not log.columns:
        raise RecordError(f"run {run} in {path} has no metric")
    query = "SELECT key, value FROM params WHERE run_uuid = ? LIMIT ?"
    log.params.update((str(k)[:200], str(v)[:200]) for k, v in _rows(path, query, (run, MAX_PARAMS)))
    return log


def _rows(path: Path, query: str, values: tuple[object, ...]) -> Iterator[tuple[object, ...]]:
    """Rows of a query on a store that is opened for reading alone."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as store:
            store.text_factory = _text
            yield from store.execute(query, values)
    except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter from a message that quotes a damaged schema
        raise RecordError(f"{path} is no MLflow store: {error}") from error


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _number(value: float) -> float:
    return math.copysign(math.inf, value) if abs(value) >= _LARGEST else value
