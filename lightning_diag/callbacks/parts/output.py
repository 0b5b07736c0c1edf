"""Files: the record while the run goes on, the report at its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning_diag import output, store
from lightning_diag.callbacks.messages import say, warn
from lightning_diag.callbacks.run import Part, Run
from lightning_diag.engine import diagnose
from lightning_diag.errors import ConfigError
from lightning_diag.findings import Diagnosis
from lightning_diag.history import RunContext

LIVE_SHARE = 0.01
"""The report is refreshed while the run goes on as long as all of that takes less than this share of the time."""
FIRST_LOOK = 0.05
"""Seconds that the first look is taken to cost: rules are imported then, and nothing was measured yet."""
ANNOUNCED = frozenset(
    ("LD101", "LD109", "LD110", "LD111", "LD401", "LD402", "LD403", "LD404", "LD405", "LD503", "LD603", "LD605", "LD609",
     "LD610", "LD611", "LD612", "LD701", "LD702", "LD703", "LD704")
)  # fmt: skip
"""Findings that are told while the run goes on: facts, not outcomes. Whether a target is missed is not known in epoch 0."""
TIMES = 2
"""Intervals in a row that a finding must hold before it is told; what comes and goes is noise."""


class OutputPart(Part):
    """Appends to ``history.jsonl`` each epoch and writes the report at the end; a full disk never stops a run."""

    title = "writing files"

    def __init__(self) -> None:
        self._written: RunContext | None = None
        self._held: dict[str, int] = {}
        self._failed = False
        self._spent = 0.0
        self._expected = FIRST_LOOK
        self._started = time.monotonic()

    def set_up(self, run: Run) -> None:
        """Find the folder on all ranks, and refuse one that cannot be written, before training."""
        folder = run.options.dirpath or run.trainer.log_dir or run.trainer.default_root_dir
        if run.trainer.fast_dev_run:
            return
        run.directory = Path(folder)
        if run.is_writer:
            problem = output.cannot_write(run.directory)
            if problem:
                raise ConfigError(
                    f"The report cannot be written to {run.directory}: {problem}. Give another folder with dirpath=."
                )

    def fit_start(self, run: Run) -> None:
        """Start the record; an older run in the same folder is moved aside."""
        if run.directory is not None and run.is_writer:
            self._safely(lambda folder: output.start_record(folder, run.lines()), run)

    def interval_closed(self, run: Run) -> None:
        """Append the closed record; look at the run so far where that is cheap enough."""
        if not run.is_writer:
            return
        if run.directory is not None:
            self._safely(lambda folder: self._append(folder, run), run)
        begin = time.monotonic()
        if run.options.live is not False and self._spent + self._expected <= LIVE_SHARE * (begin - self._started):
            self._look(run)
            self._expected = time.monotonic() - begin
            self._spent += self._expected

    def fit_end(self, run: Run) -> None:
        """Write the report and say where it is; weights that are not loaded end a run before its first epoch."""
        recorded = run.recorder.epochs or run.recorder.context.pretrain is not None
        if not run.is_writer or not recorded:
            return
        diagnosis = diagnose(run.recorder.history(), thresholds=run.options.thresholds)
        run.extra["diagnosis"] = diagnosis
        if run.directory is not None:
            self._safely(lambda folder: self._write(folder, run, diagnosis), run)

    # -- inner --------------------------------------------------------------------------------------------------

    def _append(self, folder: Path, run: Run) -> None:
        count = len(run.recorder.epochs)
        if run.recorder.context is not self._written and count & (count - 1) == 0:  # 1, 2, 4, 8 ...: facts settle early
            store.append_context(folder / output.HISTORY, run.recorder.context)
            self._written = run.recorder.context
        store.append_epoch(folder / output.HISTORY, run.recorder.epochs[-1])

    def _look(self, run: Run) -> None:
        """Announce what holds for the first time, and refresh the text of the report."""
        history = run.recorder.history()
        diagnosis = diagnose(history, thresholds=run.options.thresholds)
        held = {finding.code: finding for finding in diagnosis.causes if finding.code in ANNOUNCED}
        self._held = {code: self._held.get(code, 0) + 1 for code in held}
        for code, finding in held.items():
            if self._held[code] == TIMES:
                say(f"lightning_diag, epoch {run.epoch}: {code} {finding.title}. {finding.summary}", run.trainer)
        if run.directory is not None:
            self._safely(lambda folder: output.refresh_report(folder, history, diagnosis), run)

    def _write(self, folder: Path, run: Run, diagnosis: Diagnosis) -> None:
        store.append_context(folder / output.HISTORY, run.recorder.context)
        path = output.write_report(folder, run.recorder.history(), diagnosis, figures=run.options.figures is not False)
        say(f"Diagnosis: {path}\n{diagnosis.verdict}", run.trainer)

    def _safely(self, write: Callable[[Path], Any], run: Run) -> None:
        """One warning for a folder that cannot be written; the record stays in memory, the run goes on."""
        assert run.directory is not None
        try:
            write(run.directory)
        except OSError as error:
            text = f"lightning_diag cannot write to {run.directory} ({error}); training goes on."
            run.recorder.note(text)
            if not self._failed:
                self._failed = True
                warn(text)
