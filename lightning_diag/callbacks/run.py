"""The state of one observed fit, shared by the parts of the observer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from lightning_diag import store
from lightning_diag.callbacks.options import Options
from lightning_diag.capture.observation import Again, Consumer
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
        observation: during ``batch_end``, what the step was captured as (see ``capture.Observation``); else None.
        again: after ``batch_end``, what may be called in its place for training steps like this one, until the next
            :attr:`turn`; None: nothing.
        turn: grows when all parts want to be asked again (an epoch or a validation begins).
        along: is given (batch, target) of a step that goes the short way.
        rest: training steps until a resting part wants to be asked again in mid-epoch; 0: none does.
        step_done: to be called when a step has returned; see the consumer of ``capture.StepCapture``.
        inputs: batches evaluated outside the steps may be read from here by the probe.
        restored: number of records that came from a checkpoint.
        late: whether processes without validation batches make all wait for the end of the epoch.
        torn: whether the running interval began before a resume; carried: whether what the checkpoint measured of it
            was taken up, so that it is whole.
        began: training batches of the whole run before the running interval.
        first_rates: learning rates of the first training step of the running interval; empty before it.
    """

    trainer: Any
    module: Any
    options: Options
    wanted: frozenset[str]
    recorder: Recorder
    directory: Path | None = None
    observation: Any = None
    again: Again | None = None
    along: Callable[[Any, Any], None] | None = None
    turn: int = 0
    rest: int = 0
    step_done: Consumer | None = None
    restored: int = 0
    late: bool = False
    torn: bool = False
    carried: bool = False
    began: int = 0
    first_rates: tuple[float, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    _lines: list[tuple[EpochRecord, str]] = field(default_factory=list)

    @property
    def is_writer(self) -> bool:
        """Whether this process writes files (rank 0)."""
        return bool(self.trainer.is_global_zero)

    @property
    def processes(self) -> int:
        """How many processes train together."""
        return int(self.trainer.world_size)

    @property
    def batches(self) -> int:
        """Training batches of the running interval."""
        return int(self.trainer.fit_loop.epoch_loop.batch_progress.total.processed) - self.began

    @property
    def batches_left(self) -> float:
        """Training batches of the epoch after the one at hand; infinite where its length is not known."""
        return float(self.trainer.num_training_batches) - int(
            self.trainer.fit_loop.epoch_loop.batch_progress.current.ready
        )

    @property
    def epoch(self) -> int:
        """The Trainer's current epoch."""
        return int(self.trainer.current_epoch)

    @property
    def step(self) -> int:
        """Optimiser steps so far."""
        return int(self.trainer.global_step)

    @property
    def rates(self) -> tuple[float, ...]:
        """Learning rate of each parameter group; a home-made optimiser may have groups without one."""
        groups = (group for optimizer in self.trainer.optimizers for group in optimizer.param_groups)
        return tuple(float(group["lr"]) for group in groups if "lr" in group)

    @property
    def used_rates(self) -> tuple[float, ...]:
        """Learning rates that the running interval trained with: of its first step where they change once per epoch.

        Lightning lets such schedulers step before the hooks of the epoch's end, where :attr:`rates` are those of the next.
        """
        intervals = {config.interval for config in self.trainer.lr_scheduler_configs}
        return (self.first_rates if intervals == {"epoch"} else ()) or self.rates

    def close(self, epoch: int) -> None:
        """Close the running interval into a record of ``epoch``."""
        self.recorder.close(epoch, self.step, self.used_rates)
        self.torn = self.carried = False
        self.first_rates = ()
        self.began += self.batches

    def lines(self) -> list[str]:
        """The record as JSON lines; the line of a record is made once."""
        epochs = self.recorder.epochs
        cached = {id(record): line for record, line in self._lines}
        self._lines = [(record, cached.get(id(record)) or _epoch_line(record)) for record in epochs]
        context = store.history_to_lines(RunHistory(context=self.recorder.context))
        return [*context, *(line for _, line in self._lines)]


def _epoch_line(record: EpochRecord) -> str:
    return store.history_to_lines(RunHistory(epochs=(record,)))[-1]


class FailedEverywhere(Exception):  # noqa: N818  (not an error of its own: the news of one)
    """A fault on some process that all processes learn of in the same collective call."""


class Part:
    """One concern of the observer: a set of hooks, switched off as a whole when one of them raises.

    Hooks are looked up once, at fit start; a part pays only for the hooks that it overrides. The stage of a
    validation batch is ``val`` for the first loader, ``val:1`` for the second. A hook of a step (those that may return a
    bool) that returns False is not called again before the next epoch or validation begins, or :attr:`Run.rest` training
    steps are done.

    Attributes:
        title: what is named when the part fails.
        collective: hooks in which all processes talk to each other.
    """

    title = "monitor"
    collective: ClassVar[tuple[str, ...]] = ()

    def set_up(self, run: Run) -> None:
        """In ``setup``, before training. Raise :class:`ConfigError` for settings that cannot work."""

    def fit_start(self, run: Run) -> None:
        """Before the sanity check; the model is on its device, a checkpoint is restored."""

    def train_start(self, run: Run) -> None:
        """After the sanity check, before the first epoch; ``run.torn`` and ``run.carried`` are known."""

    def epoch_start(self, run: Run) -> None:
        """A training epoch begins."""

    def batch_start(self, run: Run, stage: str, batch: Any, batch_idx: int) -> bool | None:
        """Before a step."""

    def batch_end(self, run: Run, stage: str, result: Any, batch: Any, batch_idx: int | None) -> bool | None:
        """Right after a step that returned ``result``, before backward; ``run.observation`` is set meanwhile."""

    def along(self, run: Run, batch: Any, target: Any) -> bool | None:
        """In place of ``batch_end``, after a training step like the one before: a part that has it keeps no step from the short way."""

    def before_backward(self, run: Run) -> bool | None:
        """Before a backward pass."""

    def before_optimizer_step(self, run: Run, optimizer: Any) -> bool | None:
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

    def interval_done(self, run: Run) -> None:
        """After every interval on every process, also where nothing was recorded: the place for collective calls."""

    def fit_end(self, run: Run) -> None:
        """The fit is over, normally or not; facts go into the context."""

    def close(self, run: Run) -> None:
        """Release everything: hooks, patches, references. Called once, also after an exception."""

    def take_part(self, run: Run, hook: str) -> None:
        """Make the collective calls of ``hook``, one of :attr:`collective`, after a fault on this process.

        The other processes make the same calls at the same time and would wait for ever. Whatever is sent must tell
        them of the fault, so that all raise :class:`FailedEverywhere` together. Calls that the hook made before it
        failed are not made again.
        """

    def state_dict(self, run: Run) -> dict[str, Any]:
        """State for a checkpoint written within an epoch: plain values and tensors, no configuration."""
        return {}

    def load_state_dict(self, run: Run, state: dict[str, Any]) -> None:
        """Take up the state of :meth:`state_dict`."""


HOOKS = (
    "fit_start", "train_start", "epoch_start", "batch_start", "batch_end", "along", "before_backward", "before_optimizer_step",
    "validation_start", "validation_epoch_end", "validation_end", "interval_end", "interval_closed", "interval_done",
    "fit_end", "close",
)  # fmt: skip
