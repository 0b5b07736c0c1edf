"""Several labels per sample: each is a question of its own, and the accuracy of the samples is no measure of chance.

A sample is right when all of its labels are, which a model of twenty labels that is right in 95 % of each achieves for
a third of the samples, and which has no most frequent class to be compared with.
"""

from __future__ import annotations

import math

from lightning_diag import statistics
from lightning_diag.history import Count, RunHistory, StageRecord


def trivial_label_loss(history: RunHistory) -> float | None:
    """Binary cross-entropy in nats of answering each label with its frequency, the mean over the labels."""
    record = _with_labels(history, "train") or _with_labels(history, "val")
    if record is None:
        return None
    _, support, *_ = record.classes.columns()
    shares = [count / record.n for count in support]
    return sum(entropy(share) for share in shares) / len(shares) or None


def labels_by_chance(history: RunHistory, stage: str) -> float | None:
    """p-value that no label of the last evaluation of ``stage`` was told apart from its absence; None when not counted."""
    record = _with_labels(history, stage)
    if record is None:
        return None
    _, support, predicted, correct = record.classes.columns()
    if -1 in predicted:
        return None
    return statistics.association(list(zip(support, predicted, correct, strict=True)), record.n)


def recall_of_labels(history: RunHistory, stage: str) -> tuple[Count, float] | None:
    """(recall over all labels, the rate that as many answers dealt out at random have) of the last evaluation of ``stage``.

    The labels of one sample depend on each other, so that the count claims no more of them than there are samples.
    """
    record = _with_labels(history, stage)
    if record is None:
        return None
    _, support, predicted, correct = record.classes.columns()
    labels = sum(support)
    if -1 in predicted or not labels:
        return None
    known = min(labels, record.n)
    by_chance = sum(s * p for s, p in zip(support, predicted, strict=True)) / (labels * record.n)
    return Count(k=round(sum(correct) / labels * known), n=known), by_chance


def entropy(share: float) -> float:
    """Loss in nats of answering one yes-or-no question with its frequency."""
    return -sum(q * math.log(q) for q in (share, 1 - share) if q > 0)


def _with_labels(history: RunHistory, stage: str) -> StageRecord | None:
    """The last evaluation that counted its labels over known samples."""
    record = next((record for _, record in reversed(history.stage(stage)) if record.classes), None)
    if record is None or not record.n:
        return None
    _, support, *_ = record.classes.columns()
    return record if max(support) <= record.n else None
