"""What kind of log lies at a path."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lightning_diag.errors import RecordError
from lightning_diag.readers import mlflow, mlflow_db, tensorboard, wandb
from lightning_diag.words import listed

OWN = "history.jsonl"
MAX_FOLDERS = 20_000
"""Folders looked through below a path; a sweep of thousands of runs fits."""
_KINDS = {
    **dict.fromkeys((".csv", ".tsv", ".txt", ".log"), "csv"),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "json"),
    ".db": "mlflow-db",
    ".wandb": "wandb",
}
_WEIGHTS = frozenset({".pt", ".pth", ".ckpt", ".bin", ".safetensors"})
_SKIPPED = frozenset({"checkpoints", "artifacts", "plots", "diagnosis", ".git", "node_modules", "__pycache__"})


@dataclass(frozen=True)
class Place:
    """A log: its format (a key of ``readers.READERS``), its file or folder, and the run where a file holds several."""

    kind: str
    path: Path
    run: str = ""

    def __str__(self) -> str:
        return f"{self.path} ({self.run})" if self.run else str(self.path)


def find_log(path: Path) -> Place:
    """The log at ``path``: a file, a run folder, or a folder of runs of which the newest is taken.

    Raises:
        RecordError: there is none.
    """
    if not path.exists():
        raise no_log(path)
    places = find_logs(path)
    if path.is_file():
        return places[-1]
    if not places:
        raise no_log(path)
    newest = max(_modified(place.path) for place in places)
    return [place for place in places if _modified(place.path) == newest][-1]


def no_log(path: Path) -> RecordError:
    """Why there is nothing to read at ``path``, and what is expected."""
    if not path.exists():
        return RecordError(f"{path} does not exist")
    tables = [] if path.is_file() else [p.name for p in _files(path) if p.suffix.lower() in _KINDS]
    if len(tables) > 1:
        return RecordError(f"{path} holds {len(tables)} files that may be logs: name the file, {listed(tables, 3)}")
    return RecordError(
        f"{path} holds no log that can be read: expected history.jsonl, metrics.csv, results.csv, trainer_state.json, "
        "TensorBoard events, an MLflow or W&B run, or one CSV or JSON file"
    )


def find_logs(path: Path) -> list[Place]:
    """All runs at and below ``path``, sorted by path; a run folder is not searched further."""
    if path.is_file():
        return _runs_of(_of_file(path))
    found: list[Place] = []
    waiting = [path]
    for _ in range(MAX_FOLDERS):
        if not waiting:
            break
        folder = waiting.pop()
        place = _of_folder(folder)
        if place:
            found += _runs_of(place)
        else:
            waiting += [d for d in _folders(folder) if d.name not in _SKIPPED]
    return sorted(found, key=lambda place: _natural(place.path))


def _of_file(path: Path) -> Place:
    name = path.name.lower()
    if name in {"diagnosis.md", "diagnosis.json"} and path.with_name(OWN).is_file():
        return Place("own", path.with_name(OWN))
    if name.endswith(".jsonl") and _is_own(path):
        return Place("own", path)
    if "tfevents" in name:
        return Place("tensorboard", path)
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        expected = ", ".join(_KINDS)
        if path.suffix.lower() in _WEIGHTS:
            raise RecordError(
                f"{path} looks like weights: give the run's folder or log; weights are compared by lightning-diag verify"
            )
        raise RecordError(f"{path}: expected one of {expected}, a TensorBoard event file or a folder")
    return Place(_csv_kind(path) if kind == "csv" else kind, path)


def _runs_of(place: Place) -> list[Place]:
    """A store of several runs is several places."""
    runs = mlflow_db.runs_in(place.path) if place.kind == "mlflow-db" else []
    return [Place(place.kind, place.path, run) for run in runs] or [place]


def _is_own(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(64).lstrip(b"\0 \r\n").startswith(b'{"type":')
    except OSError:
        return True  # the reader says why


def _csv_kind(path: Path) -> str:
    if path.name == "metrics.csv":
        return "lightning"
    return "yolo" if path.name == "results.csv" else "csv"


def _of_folder(folder: Path) -> Place | None:
    for kind, name in (
        ("own", OWN),
        ("lightning", "metrics.csv"),
        ("json", "trainer_state.json"),
        ("yolo", "results.csv"),
    ):
        if (folder / name).is_file():
            return Place(kind, folder / name)
    if mlflow.is_mlflow_run(folder):
        return Place("mlflow", folder)
    if (folder / "mlflow.db").is_file():
        return Place("mlflow-db", folder / "mlflow.db")
    runs = sorted(folder.glob(wandb.PATTERN))
    if runs:
        return Place("wandb", runs[-1])
    if _has_events(folder):
        return Place("tensorboard", folder)
    return _only_table(folder)


def _has_events(folder: Path) -> bool:
    """Events here, or in the sub-folders that Keras and ``add_scalars`` make for stages."""
    if any(folder.glob(tensorboard.PATTERN)):
        return True
    stages = {"train", "validation", "val", "eval", "test"}
    return any(any(d.glob(tensorboard.PATTERN)) for d in _folders(folder) if d.name in stages)


def _only_table(folder: Path) -> Place | None:
    """The one CSV or JSON log of a folder; several of them are several runs only if the user says so."""
    tables = [p for p in _files(folder) if p.suffix.lower() in {".csv", ".tsv"}]
    named = [p for p in tables if "log" in p.stem.lower() or "history" in p.stem.lower()] or tables
    if len(named) == 1:
        return Place("csv", named[0])
    logs = [
        p
        for p in _files(folder)
        if p.suffix.lower() in {".json", ".jsonl"} and p.stem.lower() in {"history", "log", "logs", "metrics"}
    ]
    return Place("json", logs[0]) if len(logs) == 1 else None


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if p.is_file())
    except OSError:
        return []


def _folders(folder: Path) -> Iterator[Path]:
    try:
        yield from (p for p in folder.iterdir() if p.is_dir() and not p.is_symlink())
    except OSError:
        return


def _modified(path: Path) -> float:
    """When a run was last written to; the newest file of a folder counts."""
    try:
        inside = [p.stat().st_mtime for p in path.iterdir()] if path.is_dir() else []
        return max([path.stat().st_mtime, *inside])
    except OSError:
        return 0.0


def _natural(path: Path) -> list[tuple[int, str | int]]:
    """``version_10`` after ``version_9``."""
    parts = re.split(r"(\d+)", path.as_posix())
    return [(0, int(part[:18])) if part.isdigit() else (1, part) for part in parts if part]
