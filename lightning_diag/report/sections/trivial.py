"""What answers that ignore the input would reach, beside accuracies that say little without it; and the overlap of regions."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from lightning_diag.history import ClassRow, Count
from lightning_diag.report import numbers
from lightning_diag.report.view import View
from lightning_diag.rules.independence import independent

REGIONS = 256
"""Classes up to which an overlap of regions is said; positions of more classes are tokens of a text."""


def positions(view: View) -> str:
    """Of positions: the share of the most frequent class, and the mean intersection over union; empty where not counted."""
    epoch, stage = view.last_classes("val")
    rows = [row for row in stage.classes if row.support] if stage is not None else []
    if independent(view.history) or len(rows) < 2:
        return ""
    top = max(rows, key=lambda row: row.support)
    share = Count(k=top.support, n=sum(row.support for row in rows))
    parts = [f"Naming {view.label(top.index)} at every position is right in {numbers.count(share)}."]
    known = [value for row in (stage.classes if stage is not None else ()) if (value := overlap(row)) is not None]
    if known and len(known) <= REGIONS:
        parts.append(f"Mean IoU in epoch {epoch}: {numbers.percent(fmean(known))} over {len(known)} classes.")
    return " ".join(parts)


def overlap(row: ClassRow) -> float | None:
    """Intersection over union of the positions of a class and those predicted as it; None where there are neither, or unknown."""
    if row.predicted is None or not row.support + row.predicted:
        return None
    return row.correct / (row.support + row.predicted - row.correct)


def labels(view: View) -> str:
    """Of several labels per sample: what the more frequent answer to each one reaches; empty where they were not counted."""
    _, stage = view.last_classes("val")
    if stage is None or not stage.n or max(row.support for row in stage.classes) > stage.n:
        return ""
    right = [max(row.support, stage.n - row.support) / stage.n for row in stage.classes]
    low, high = _all_right(right)
    span = numbers.percent(high) if low == high else f"{numbers.percent(low)} to {numbers.percent(high)}"
    exact = f"at most {numbers.percent(high)}" if low <= 0 else span
    return (
        f"The more frequent answer to each label, whatever the sample, is right in {numbers.percent(fmean(right))} of the single "
        f"labels and matches {exact} exactly (which labels occur together is not recorded)."
    )


def _all_right(right: Sequence[float]) -> tuple[float, float]:
    """Bounds of the share of samples in which all answers are right, from the share of each (Fréchet's inequalities)."""
    return max(0.0, 1 - sum(1 - share for share in right)), min(right)
