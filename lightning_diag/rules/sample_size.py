"""How often training can have seen each class."""

from __future__ import annotations

from lightning_diag.history import RunHistory
from lightning_diag.rules.reading import class_counts, classes, fullest_stage


def shown(history: RunHistory) -> tuple[float, str] | None:
    """(training samples that can show a class, how to say that of it); None when size or classes are not known.

    A sample with one label shows one class. A line shows each of its tokens, an image or a text at most each class once
    and no more classes than it has positions; where the positions were not counted, it may show them all.
    """
    size, number_of_classes = history.context.data.train.size, classes(history)
    if not size or not number_of_classes:
        return None
    lines = history.series("ctc/train/tokens_per_line").values
    if lines:
        return size * lines[-1] / number_of_classes, "per token"
    if history.context.task == "dense":
        positions = sum(class_counts(history, "train")) / size or _positions(history, size)
        return size * min(1.0, (positions or number_of_classes) / number_of_classes), "per class at most"
    return size / number_of_classes, "per class"


def _positions(history: RunHistory, size: int) -> float | None:
    """Positions per sample, from an epoch of training that was counted."""
    record = fullest_stage(history, "train")
    return record.n / size if record and record.n else None
