"""The context at the start, and what happened in each interval."""

from __future__ import annotations

import time

from lightning_diag.callbacks.context import context_changes, data_facts
from lightning_diag.callbacks.messages import warn
from lightning_diag.callbacks.run import Part, Run
from lightning_diag.callbacks.standing import is_best
from lightning_diag.signals.setup_facts import optim_facts

LR_STEP = 2.0
"""A change of the learning rate by this factor between two records is an event of its own."""


class TimelinePart(Part):
    """Writes the context, and the events of each interval: start, resume, best, cuts and rises of the rate."""

    title = "context"

    def __init__(self) -> None:
        self._clock = time.monotonic()
        self._started = False

    def fit_start(self, run: Run) -> None:
        """What is known before the first step."""
        run.recorder.update(**context_changes(run))

    def train_start(self, run: Run) -> None:
        """Loaders exist now, and the training state of a checkpoint is restored."""
        trainer = run.trainer
        resumed = trainer.ckpt_path is not None or run.restored > 0
        run.recorder.update(
            data=data_facts(trainer),
            optim=optim_facts(trainer),
            resumed_epoch=run.epoch if resumed else None,
        )
        self._clock = time.monotonic()
        if not any(run.trainer.num_val_batches):
            text = (
                "There is no validation: only training is recorded, so nothing can be said about generalisation. "
                "Give fit a validation loader and define validation_step."
            )
            run.recorder.note(text)
            warn(f"lightning_diag: {text}")

    def interval_end(self, run: Run) -> None:
        """Learning rate, time and events."""
        now = time.monotonic()
        rates = [float(group["lr"]) for optimizer in run.trainer.optimizers for group in optimizer.param_groups]
        found = {"time/epoch": now - self._clock}
        if rates:
            found["lr"] = rates[0]
        self._clock = now
        if run.recorder.pending:
            self._events(run, rates[0] if rates else None)
            run.recorder.values(found)

    def _events(self, run: Run, rate: float | None) -> None:
        if not self._started:
            resumed = run.recorder.context.resumed_epoch is not None
            run.recorder.event("resume" if resumed else "start")
        self._started = True
        before = run.recorder.epochs[-1].values.get("lr") if run.recorder.epochs else None
        if rate and before and rate >= LR_STEP * before:
            run.recorder.event("lr_rise", f"learning rate {before:.3g} → {rate:.3g}")
        elif rate is not None and before and rate <= before / LR_STEP:
            run.recorder.event("lr_cut", f"learning rate {before:.3g} → {rate:.3g}")
        if is_best(run):
            run.recorder.event("best")
