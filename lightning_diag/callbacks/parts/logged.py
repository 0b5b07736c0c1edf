"""What the module itself logged, only where it was logged in this interval."""

from __future__ import annotations

from typing import Any

from lightning_diag.callbacks.parts.loggers import PREFIX
from lightning_diag.callbacks.run import Part, Run
from lightning_diag.readers.names import meaning_of

MOST = 100
"""Names recorded; a module that logs thousands of scalars would drown the record."""


class LoggedPart(Part):
    """Records the module's metrics as ``logged/<name>``.

    ``trainer.callback_metrics`` keeps old values in epochs without validation; copying it makes a false plateau. A
    value counts as new when its tensor is another object than before.
    """

    title = "logged metrics"

    def __init__(self) -> None:
        self._seen: dict[str, Any] = {}

    def validation_end(self, run: Run) -> None:
        """Validation metrics are reduced now."""
        found = self._take(run)
        if run.processes == 1:  # of several, each may have logged a loss of its own
            _stand_in(run, found)

    def interval_end(self, run: Run) -> None:
        """Training metrics of the epoch."""
        if run.recorder.pending:
            self._take(run)

    def _take(self, run: Run) -> dict[str, float]:
        found = {}
        for name, value in list(run.trainer.callback_metrics.items())[:MOST]:
            if name.startswith(PREFIX) or self._seen.get(name) is value:
                continue
            self._seen[name] = value
            if value.numel() == 1:
                found[f"logged/{name}"] = float(value)
        run.recorder.values(found)
        return found


def _stand_in(run: Run, found: dict[str, float]) -> None:
    """Take the logged validation loss where the steps showed none, and say so; what was measured wins."""
    usual = []
    for key, value in found.items():
        name = key.removeprefix("logged/")
        meaning = meaning_of(name)
        if (meaning.stage, meaning.quantity) == ("val", "loss") and not meaning.per_step:
            usual.append((meaning.rank, name, value))
    if not usual or "val/loss" in run.recorder.running_values:
        return
    _, name, value = min(usual, key=lambda entry: entry[0])
    text = f"The validation loss is as logged ({name}): validation_step made no loss call that could be read and returned no loss."
    earlier = any("val/loss" in record.values for record in run.recorder.epochs)
    if earlier and text not in run.recorder.context.notes:
        return  # a series of two losses would show a jump that is none
    run.recorder.note(text)
    run.recorder.values({"val/loss": value})
