"""A loss that is NaN because no target was left to take the mean over: nothing diverged, and nothing was learned."""

from __future__ import annotations

from typing import Any

from lightning_diag.findings import Evidence
from lightning_diag.history import EpochRecord, RunHistory
from lightning_diag.rules.consequences import NOTHING_MEASURED, WEIGHTS_LOST
from lightning_diag.rules.reading import STAGE_NAMES
from lightning_diag.words import number


def without_targets(history: RunHistory, record: EpochRecord, stage: str) -> bool:
    """Whether the loss calls of ``stage`` were seen in this epoch, and not one of their targets counted.

    Outputs that are NaN do not look so: their targets are counted.
    """
    seen = record.stages.get(stage)
    calls = (f for f in history.context.capture if f.stage == stage and (f.source or "").startswith("loss call"))
    return seen is not None and seen.n == 0 and seen.correct is None and any(f.task in COUNTED for f in calls)


COUNTED = frozenset({"multiclass", "binary", "multilabel", "dense"})
"""Tasks whose targets are counted one by one, those equal to ``ignore_index`` left out."""


def no_target_left(record: EpochRecord, stage: str) -> dict[str, Any]:
    """The fields of the finding that differ from those of a run that diverged."""
    what = STAGE_NAMES.get(stage, stage)
    text = f"the {what} loss is NaN in epoch {record.epoch}, and not one {what} target counted"
    evidence = [Evidence(signal=f"{stage}/loss", text=text, epoch=record.epoch, observed=0.0)]
    gradient = record.values.get("grad/norm_max") if stage == "train" else None
    if gradient is not None:
        zero = f"the largest gradient norm was {number(gradient)}"
        evidence.append(Evidence(signal="grad/norm_max", text=zero, epoch=record.epoch, observed=gradient))
    learned = "nothing was learned, and the weights are as they were" if stage == "train" else "nothing was measured"
    return {
        "confidence": 0.99,
        "claim": "established",
        "title": f"No {what} target counts from epoch {record.epoch} on",
        "summary": f"No {what} target is left to {'learn from' if stage == 'train' else 'measure with'}: {text}.",
        "evidence": tuple(evidence),
        "why": f"The mean over no target is 0/0 = NaN: {learned}.",
        "actions": (
            "print the targets of one batch as the loss gets them: each equals ignore_index (-100 unless set)",
            "look for the step that masks or pads the labels, or for a value of ignore_index that is a class",
        ),
        "next_test": "count the targets that differ from ignore_index in each batch of one epoch: some must",
        "epoch": record.epoch,
        "explains": (*WEIGHTS_LOST, "LD103") if stage == "train" else NOTHING_MEASURED,
    }
