"""The state of one observed fit, shared by the parts of the observer."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_diag import store
from lightning_diag.callbacks.options import Options
from lightning_diag.history import EpochRecord, RunHistory
from lightning_diag.recorder import Recorder


@dataclass
class Run:
    """One fit under observation.

    Attributes:
        trainer: the Trainer; module: the LightningModule.
        options: merged settings of all attached callbacks; wanted: class names of the attached callbacks.
        recorder: the record so far.
        directory: where the report goes (None: files are off, e.g. ``fast_dev_run``).
        observation: what the last step was captured as (see ``capture.Observation``).
        inputs: batches evaluated outside the steps may be read from here by the probe.
        restored: number of records that came from a checkpoint.
    """

    trainer: Any
    module: Any
    options: Options
    wanted: frozenset[str]
    recorder: Recorder
    directory: Path | None = None
    observation: Any = None
    restored: int = 0
    extra: dict[str, Any] = field(default_factory=dict)
    _lines: list[tuple[EpochRecord, str]] = field(default_factory=list)

    @property
    def is_writer(self) -> bool:
        """Whether this process writes files (rank 0)."""
        return bool(self.trainer.is_global_zero)

    @property
    def epoch(self) -> int:
        """The Trainer's current epoch."""
        return int(self.trainer.current_epoch)

    @property
    def step(self) -> int:
        """Optimiser steps so far."""
        return int(self.trainer.global_step)

    def lines(self) -> list[str]:
        """The record as JSON lines; the line of a record is made once."""
        epochs = self.recorder.epochs
        cached = {id(record): line for record, line in self._lines}
        self._lines = [(record, cached.get(id(record)) or _epoch_line(record)) for record in epochs]
        context = store.history_to_lines(RunHistory(context=self.recorder.context))
        return [*context, *(line for _, line in self._lines)]


def _epoch_line(record: EpochRecord) -> str:
    return store.history_to_lines(RunHistory(epochs=(record,)))[-1]


class Part:
    """One concern of the observer: a set of hooks, switched off as a whole when one of them raises.

    Hooks are looked up once, at fit start; a part pays only for the hooks that it overrides. The stage of a
    validation batch is ``val`` for the first loader, ``val:1`` for the second.
    """

    title = "monitor"

    def set_up(self, run: Run) -> None:
        """In ``setup``, before training. Raise :class:`ConfigError` for settings that cannot work."""

    def fit_start(self, run: Run) -> None:
        """Before the sanity check; the model is on its device, a checkpoint is restored."""

    def train_start(self, run: Run) -> None:
        """After the sanity check, before the first epoch."""

    def epoch_start(self, run: Run) -> None:
        """A training epoch begins."""

    def batch_start(self, run: Run, stage: str, batch: Any, batch_idx: int) -> None:
        """Before a step."""

    def batch_end(self, run: Run, stage: str, outputs: Any, batch: Any, batch_idx: int) -> None:
        """After a step; ``run.observation`` is set."""

    def before_backward(self, run: Run) -> None:
        """Before a backward pass; only for the first :data:`BACKWARD_PASSES` of a fit."""

    def before_optimizer_step(self, run: Run, optimizer: Any) -> None:
        """Gradients are there, unscaled and not yet clipped."""

    def validation_start(self, run: Run) -> None:
        """A validation begins (not a sanity check)."""

    def validation_epoch_end(self, run: Run) -> None:
        """All validation batches are done; values written here reach ``callback_metrics`` in time."""

    def validation_end(self, run: Run) -> None:
        """What the module logged in validation is known."""

    def interval_end(self, run: Run) -> None:
        """The interval is about to be closed into a record."""

    def interval_closed(self, run: Run) -> None:
        """The interval is closed."""

    def fit_end(self, run: Run) -> None:
        """The fit is over, normally or not; facts go into the context."""

    def close(self, run: Run) -> None:
        """Release everything: hooks, patches, references. Called once, also after an exception."""

    def state_dict(self, run: Run) -> dict[str, Any]:
        """State for a checkpoint written within an epoch: plain values and tensors, no configuration."""
        return {}

    def load_state_dict(self, run: Run, state: dict[str, Any]) -> None:
        """Take up the state of :meth:`state_dict`."""


BACKWARD_PASSES = 64
"""Backward passes of a fit that parts are told of: a loop that keeps old gradients does so from the start."""
HOOKS = (
    "fit_start", "train_start", "epoch_start", "batch_start", "batch_end", "before_backward", "before_optimizer_step",
    "validation_start", "validation_epoch_end", "validation_end", "interval_end", "interval_closed", "fit_end", "close",
)  # fmt: skip
