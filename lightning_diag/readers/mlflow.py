"""MLflow runs in its file store (an ``mlruns`` folder), read without MLflow.

A run is a folder with ``meta.yaml``, ``metrics/NAME`` (a line ``timestamp value step`` per point; a slash in a name is a
sub-folder) and ``params/NAME`` (the value).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lightning_diag.errors import RecordError
from lightning_diag.readers.log import MAX_COLUMNS, Log
from lightning_diag.readers.params import MAX_PARAMS


def is_mlflow_run(folder: Path) -> bool:
    """Whether ``folder`` is one run of the file store."""
    return (folder / "meta.yaml").is_file() and (folder / "metrics").is_dir()


def read_mlflow(folder: Path) -> Log:
    """Read one run of the file store.

    Raises:
        RecordError: it has no metrics, or a metric's file is not one.
    """
    log = Log("MLflow run")
    metrics = folder / "metrics"
    for path in _files(metrics, MAX_COLUMNS):
        name = path.relative_to(metrics).as_posix()
        if not name.startswith("system/"):
            _read_metric(log, path, name)
    if not log.columns:
        raise RecordError(f"there is no metric in {folder}")
    params = folder / "params"
    for path in _files(params, MAX_PARAMS):
        log.params[path.relative_to(params).as_posix()] = _text(path)
    return log


def _files(folder: Path, most: int) -> Iterator[Path]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    return (path for path, _ in zip(found, range(most), strict=False))


def _read_metric(log: Log, path: Path, name: str) -> None:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            points = [_point(line) for line in file]
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise RecordError(f"{path}: {error}") from error
    for step, value in sorted(points, key=lambda point: point[0]):  # asynchronous logging may disorder them
        log.add(name, value, step=step)


def _point(line: str) -> tuple[int, float]:
    parts = line[:300].split()
    if len(parts) < 3:
        raise ValueError(f"expected 'timestamp value step', got {line[:40]!r}")
    return int(parts[2]), float(parts[1])


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(200).strip()
    except OSError:
        return ""
