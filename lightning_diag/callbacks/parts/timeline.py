"""The context at the start, and what happened in each interval."""

from __future__ import annotations

import time
from typing import Any

from lightning_diag.callbacks.context import context_changes, data_facts
from lightning_diag.callbacks.messages import warn
from lightning_diag.callbacks.run import Part, Run
from lightning_diag.callbacks.standing import is_best, resolve
from lightning_diag.signals.setup_facts import optim_facts

LR_STEP = 2.0
"""A change of the learning rate by this factor between two records is an event of its own."""


class TimelinePart(Part):
    """Writes the context, and the events of each interval: start, resume, best, cuts and rises of the rate."""

    title = "context"

    def __init__(self) -> None:
        self._clock = time.monotonic()
        self._started = False
        self._resolved = False
        self._earlier = 0.0

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
        self._clock = time.monotonic() - (self._earlier if run.carried else 0.0)
        batches = run.trainer.num_val_batches  # empty until the first validation, where that is epochs away
        if not run.trainer.enable_validation or (batches and not any(batches)):
            text = (
                "There is no validation: only training is recorded, so nothing can be said about generalisation. "
                "Give fit a validation loader and define validation_step."
            )
            run.recorder.note(text)
            warn(f"lightning_diag: {text}")

    def batch_end(self, run: Run, stage: str, result: Any, batch: Any, batch_idx: int | None) -> bool:
        """Read the learning rates of the first training step."""
        if stage == "train":
            run.first_rates = run.first_rates or run.rates
        return False

    def interval_end(self, run: Run) -> None:
        """Learning rate, time and events."""
        now = time.monotonic()
        rates = run.used_rates
        found = {"time/epoch": now - self._clock}
        if rates:
            found["lr"] = rates[0]
            if not self._started and run.first_rates and run.first_rates[0] != rates[0]:
                found["lr/first"] = run.first_rates[0]
        self._clock = now
        if run.recorder.pending:
            self._resolve_monitor(run)
            self._events(run, rates[0] if rates else None)
            run.recorder.values(found)

    def state_dict(self, run: Run) -> dict[str, Any]:
        """How long the open interval has taken."""
        return {"seconds": time.monotonic() - self._clock}

    def load_state_dict(self, run: Run, state: dict[str, Any]) -> None:
        """Take up the clock."""
        self._earlier = float(state["seconds"])

    def _events(self, run: Run, rate: float | None) -> None:
        if not self._started:
            resumed = run.recorder.context.resumed_epoch is not None
            run.recorder.event("resume" if resumed else "start")
        self._started = True
        if run.torn and not run.carried:
            run.recorder.event("partial", "resumed in mid-epoch: training counts cover the steps after the resume only")
        before = run.recorder.epochs[-1].values.get("lr") if run.recorder.epochs else None
        if rate and before and rate >= LR_STEP * before:
            restarts = any(word in (run.recorder.context.optim.scheduler or "") for word in ("WarmRestarts", "Cyclic"))
            run.recorder.event("lr_restart" if restarts else "lr_rise", f"learning rate {before:.3g} → {rate:.3g}")
        elif rate is not None and before and rate <= before / LR_STEP:
            run.recorder.event("lr_cut", f"learning rate {before:.3g} → {rate:.3g}")
        if is_best(run):
            run.recorder.event("best")

    def _resolve_monitor(self, run: Run) -> None:
        """Find the monitored series once there are names to find it under; tell which names there are."""
        asked, values = run.options.monitor, run.recorder.running_values
        if asked is None or self._resolved or not any(name.startswith("val") for name in values):
            return
        self._resolved = True
        found = resolve(asked, values)
        if found is None:
            names = ", ".join(sorted(name.removeprefix("logged/") for name in values))
            text = f"GapMonitor(monitor={asked!r}): there is no such series, the default is used. There are: {names}."
            run.recorder.note(text)
            warn(f"lightning_diag: {text}")
        run.recorder.update(monitor=found)
