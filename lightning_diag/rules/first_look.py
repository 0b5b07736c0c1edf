"""What the first epoch says, in which no training sample was seen before, and how much it could have said."""

from __future__ import annotations

from lightning_diag import statistics
from lightning_diag.history import Count, RunHistory
from lightning_diag.rules.reading import cells, classes, counts, steps_per_epoch, trivial_rate


def first_sight(history: RunHistory) -> tuple[int, Count, float] | None:
    """(epoch, running training accuracy, p-value that it is chance) of the epoch that saw each sample for the first time.

    No sample was seen before, so that this measures generalisation within the training set. None where the run was
    resumed, or training was not counted.
    """
    rate, found = trivial_rate(history, "train"), counts(history, "train")
    resumed = history.context.resumed_epoch
    if rate is None or not found or (resumed is not None and found[0][0] >= resumed):
        return None  # (a resume that restored the history has kept the first epoch)
    epoch, count = found[0]
    p_values = [statistics.binomial(count, rate, "greater")]
    table = cells(history.stage("train")[0][1].classes)
    if table:
        p_values.append(statistics.association(table))
    return epoch, count, statistics.corrected(min(p_values), len(p_values))


def neighbours_agree(history: RunHistory, alpha: float) -> bool:
    """Whether the nearest other sample has the same label more often than chance: labels and inputs belong together."""
    train, rate = history.context.data.train, trivial_rate(history, "train")
    nearest = None if train.redrawn else train.nearest_same  # a sample drawn twice is its own neighbour
    return nearest is not None and rate is not None and statistics.binomial(nearest, rate, "greater") < alpha


def silent_because(history: RunHistory, *, per_class: float, moved: float, steps: int) -> str | None:
    """Why the first epoch would be at chance whatever the labels are; None where it could have learned something.

    Args:
        history: a run whose first epoch was counted.
        per_class: new samples per class that it must hold.
        moved: update of the weights over their norm that it must make.
        steps: optimiser steps that do where that was not measured.
    """
    first, (_, count) = history.epochs[0], counts(history, "train")[0]
    each = count.n / (classes(history) or 2)
    if each < per_class:
        return f"{each:.0f} new samples per class in the first epoch, at least {per_class:.0f} are needed"
    ratio, taken = first.values.get("update/ratio"), first.step or steps_per_epoch(history) or 0
    if ratio < moved if ratio is not None else taken < steps:
        return "the first epoch hardly moved the weights: it would be at chance with any labels"
    return None
