"""What the module itself logged, only where it was logged in this interval."""

from __future__ import annotations

from typing import Any

from lightning_diag.callbacks.parts.loggers import PREFIX
from lightning_diag.callbacks.run import Part, Run

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
        self._take(run)

    def interval_end(self, run: Run) -> None:
        """Training metrics of the epoch."""
        if run.recorder.pending:
            self._take(run)

    def _take(self, run: Run) -> None:
        found = {}
        for name, value in list(run.trainer.callback_metrics.items())[:MOST]:
            if name.startswith(PREFIX) or self._seen.get(name) is value:
                continue
            self._seen[name] = value
            if value.numel() == 1:
                found[f"logged/{name}"] = float(value)
        run.recorder.values(found)
