"""The diagnosis of a Trainer's last fit, as a value that shows itself in a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_diag.callbacks.options import Options
from lightning_diag.engine import diagnose
from lightning_diag.errors import DiagError
from lightning_diag.findings import Diagnosis, Finding
from lightning_diag.history import RunHistory
from lightning_diag.output import HISTORY
from lightning_diag.report import render_markdown
from lightning_diag.store import read_history


@dataclass(frozen=True, kw_only=True)
class RunDiagnosis:
    """History and diagnosis of one fit; a notebook shows it as Markdown.

    Attributes:
        history: everything that was recorded; diagnosis: the ranked findings.
        directory: the folder with ``diagnosis.md``; None where no files were written.
    """

    history: RunHistory
    diagnosis: Diagnosis
    directory: Path | None = None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings, most important first."""
        return self.diagnosis.findings

    @property
    def markdown(self) -> str:
        """The report as text, without figures."""
        return render_markdown(self.history, self.diagnosis)

    def _repr_markdown_(self) -> str:
        return self.markdown

    def __str__(self) -> str:
        return self.diagnosis.verdict


def diagnosis_of(trainer: Any) -> RunDiagnosis:
    """The diagnosis of the fit that ``trainer`` ran last (or is running).

    Raises:
        DiagError: if no monitor of this library is attached, or no fit was started.
    """
    from lightning_diag.callbacks.observer import Observer

    observer = Observer.find(trainer)
    if observer is None and (found := _of_other_processes(trainer)) is not None:
        return found
    if observer is None or observer.run is None:
        raise DiagError(
            "This Trainer has no recorded fit. Attach a monitor, e.g. Trainer(callbacks=[GapMonitor()]), and call fit."
        )
    run = observer.run
    history = run.recorder.history()
    return RunDiagnosis(
        history=history,
        diagnosis=diagnose(history, thresholds=run.options.thresholds),
        directory=run.directory,
    )


def _of_other_processes(trainer: Any) -> RunDiagnosis | None:
    """The fit of ``ddp_spawn``, ``ddp_fork`` or ``ddp_notebook``: it ran in processes that are gone, and left its record."""
    from lightning_diag.callbacks.base import DiagCallback

    monitors = [callback for callback in trainer.callbacks if isinstance(callback, DiagCallback)]
    if not monitors or not trainer.state.finished or trainer.state.fn != "fit":
        return None
    options = Options()
    for monitor in monitors:
        options = options.merged(monitor.options)
    folder = Path(options.dirpath or trainer.log_dir or trainer.default_root_dir)
    if not (folder / HISTORY).exists():
        return None
    history = read_history(folder / HISTORY)
    diagnosis = diagnose(history, thresholds=options.thresholds)
    return RunDiagnosis(history=history, diagnosis=diagnosis, directory=folder)
