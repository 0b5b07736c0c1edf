"""Parts of this library that failed during the run: what each would have measured, and how it failed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from lightning_diag.findings import SWITCHED_OFF, Crashed
from lightning_diag.history import RunHistory

MEASURES: Mapping[str, tuple[str, ...]] = {
    "gradients and weights": ("grad/", "update/", "param/", "optim.gradients_kept"),
    "metrics": ("stage:val", "stage:train", "classes:", "train/", "val/", "ctc"),
    "probe": ("stage:probe", "probe/", "relu/"),
    "data": ("data.", "batch/"),
    "loss call": ("model.loss_weight", "model.class_axis_ok", "model.outputs_are_probabilities"),
}
"""Name of a part -> beginnings of the needs that it meets."""


def failures(notes: Sequence[str]) -> tuple[Crashed, ...]:
    """The parts that failed, in the order of their notes; a part has no code."""
    return tuple(
        Crashed(code="", name=part, error=error)
        for part, mark, error in (note.partition(SWITCHED_OFF) for note in notes)
        if mark
    )


def failed(need: str, history: RunHistory) -> str:
    """That the part which measures ``need`` failed; empty where it did not."""
    for failure in failures(history.context.notes):
        part = re.sub(r" \(.*\)$", "", failure.name)
        if need.startswith(MEASURES.get(part, ())):
            return f"the part that measures it failed ({part})"
    return ""
