"""The files that a run leaves: written atomically, an older run's files moved aside and never lost."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from lightning_diag.findings import Diagnosis
from lightning_diag.history import RunHistory
from lightning_diag.report import draw_figures, render_json, render_markdown

HISTORY = "history.jsonl"
REPORT = "diagnosis.md"
JSON = "diagnosis.json"
FIGURES = "diagnosis"
_KEPT_TOGETHER = (HISTORY, REPORT, JSON, FIGURES)


def cannot_write(folder: Path) -> str | None:
    """Why nothing can be written to ``folder`` (it is made where it does not exist); None when something can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or str(error)


def start_record(folder: Path, lines: Iterable[str] = ()) -> None:
    """Begin ``history.jsonl``; files of an older run are moved aside (``diagnosis.1.md`` and so on).

    Args:
        folder: the report's folder.
        lines: the record of an earlier part of the run (a resume).

    Raises:
        OSError: if the folder cannot be written.
    """
    move_aside(folder)
    replace_file(folder / HISTORY, "".join(f"{line}\n" for line in lines).encode())


def move_aside(folder: Path) -> None:
    """Give the files of an older run the next free number, all the same one."""
    present = [folder / name for name in _KEPT_TOGETHER if (folder / name).exists()]
    if not present:
        return
    number = 1
    while any(_numbered(folder / name, number).exists() for name in _KEPT_TOGETHER):
        number += 1
    for path in present:
        path.rename(_numbered(path, number))
    report = _numbered(folder / REPORT, number)
    if report.is_file():
        moved = _numbered(folder / FIGURES, number).name
        replace_file(report, report.read_bytes().replace(f"](<{FIGURES}/".encode(), f"](<{moved}/".encode()))


def refresh_report(folder: Path, history: RunHistory, diagnosis: Diagnosis) -> Path:
    """Write the text of the report, without figures (while the run goes on).

    Raises:
        OSError: if the folder cannot be written.
    """
    return replace_file(folder / REPORT, render_markdown(history, diagnosis).encode())


def write_report(folder: Path, history: RunHistory, diagnosis: Diagnosis, *, figures: bool = True) -> Path:
    """Write ``diagnosis.md``, ``diagnosis.json`` and the figures; returns the path of the Markdown.

    Raises:
        OSError: if the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = _write_figures(folder, history, diagnosis) if figures else {}
    replace_file(folder / JSON, render_json(history, diagnosis).encode())
    return replace_file(folder / REPORT, render_markdown(history, diagnosis, figures=drawn).encode())


def replace_file(path: Path, content: bytes) -> Path:
    """Write ``content`` so that a reader sees the old file or the new one, never a part.

    Raises:
        OSError: if the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # noqa: PTH101  (mkstemp makes it private; a report is as public as a log)
        os.replace(temporary, path)  # noqa: PTH105  (the atomic call, spelled as documented)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def _write_figures(folder: Path, history: RunHistory, diagnosis: Diagnosis) -> Mapping[str, str]:
    """Figures under ``diagnosis/``; name -> path relative to the report."""
    drawn = draw_figures(history, diagnosis)
    for name, content in drawn.items():
        replace_file(folder / FIGURES / f"{name}.svg", content)
    return {name: f"{FIGURES}/{name}.svg" for name in drawn}


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}.{number}{path.suffix}")
