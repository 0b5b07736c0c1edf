"""Questions about a history that several rules ask, each answered in one place.

*Trivial* is what a model reaches that ignores its input: the loss of always answering with the class frequencies, the
accuracy of always naming the most frequent class.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from lightning_diag import statistics
from lightning_diag.findings import Evidence
from lightning_diag.history import ClassRows, Count, PretrainFacts, RunHistory, Series, StageRecord
from lightning_diag.rules.labels import entropy, labels_by_chance, recall_of_labels, trivial_label_loss
from lightning_diag.words import number, percent

ALPHA = 0.01
"""Error rate of one rule's test. About thirty rules test something, so that a healthy run of independent signals would
meet one false claim in three runs at 0.05; at 0.01 and with the size of effect that each rule asks for besides, the
rate measured on healthy random configurations stays below one in a hundred."""
SIGN = statistics.CUSTOMARY
"""p-value below which *never* is too strong a word, whatever many looks make of it."""


NO_ANSWERS = "how often each class was the answer is not recorded"
"""Why rules that count answers say nothing of a record that holds the recall of each class alone."""


def counts(history: RunHistory, stage: str) -> list[tuple[int, Count]]:
    """(epoch, accuracy as a count) of every evaluation of ``stage`` that has one; ``probe`` is the one of training.

    The first batches of a sorted training set hold one or two classes: a probe made of them says nothing of the others.
    """
    if stage == "probe" and history.context.data.train.sorted_batches:
        return []
    if stage == "probe" and not history.stage(stage):
        sizes, rates = dict(history.series("probe/train_n").finite), history.series("probe/train_acc").finite
        return [
            (e, Count(k=round(rate * sizes[e]), n=int(sizes[e]))) for e, rate in rates if _countable(sizes.get(e), rate)
        ]
    return list(history.counts(stage))


def _countable(size: float | None, rate: float) -> bool:
    return size is not None and size >= 1 and 0 <= rate <= 1


def final_count(history: RunHistory, stage: str) -> Count | None:
    """Accuracy of the last evaluation."""
    found = counts(history, stage)
    return found[-1][1] if found else None


def best_count(history: RunHistory, stage: str) -> tuple[int, Count] | None:
    """(epoch, accuracy) of the best evaluation, the earliest of equals."""
    if stage != "probe":
        return history.best_count(stage)
    return max(counts(history, stage), key=lambda pair: (pair[1].rate, -pair[0]), default=None)


def count_from(history: RunHistory, epoch: int) -> Count | None:
    """Validation accuracy of the first evaluation at or after ``epoch``."""
    return next((count for e, count in counts(history, "val") if e >= epoch), None)


def classes(history: RunHistory) -> int | None:
    """Number of classes, where the task has them and they are known."""
    if history.context.classes and history.context.task != "ctc":
        return history.context.classes
    record = history.last_stage("val")
    return len(record.classes) if record and len(record.classes) > 1 else None


def class_counts(history: RunHistory, stage: str) -> tuple[int, ...]:
    """Samples per class index: what training drew, or validation holds, else what an evaluation saw."""
    data = history.context.data
    known = data.train.drawn_counts or data.train.class_counts if stage == "train" else data.val.class_counts
    if known:
        return known
    record = fullest_stage(history, stage)
    if record is None or not record.classes:
        return ()
    index, support, *_ = record.classes.columns()
    return tuple(count for _, count in sorted(zip(index, support, strict=True), key=lambda pair: pair[0]))


def fullest_stage(history: RunHistory, stage: str) -> StageRecord | None:
    """The evaluation of ``stage`` that counted most; of long training epochs only the first are counted whole."""
    return max((record for _, record in reversed(history.stage(stage))), key=lambda record: record.n, default=None)


def trivial_loss(history: RunHistory) -> float | None:
    """Loss in nats of always answering with the class frequencies; ln(classes) when those are not known.

    A binary cross entropy of each class against the rest (one of them is right) is the mean of one yes-or-no loss per class.
    """
    if history.context.task == "multilabel":
        return trivial_label_loss(history)
    seen = class_counts(history, "train") or class_counts(history, "val")
    total = sum(seen)
    number_of_classes = len(seen) if total else classes(history) or 0
    shares = [c / total for c in seen] if total else [1 / number_of_classes for _ in range(number_of_classes)]
    if history.context.task in {"multiclass", "dense"} and (history.context.model.loss_name or "").startswith("binary"):
        return sum(map(entropy, shares)) / max(1, len(shares)) or None
    return -sum(p * math.log(p) for p in shares if p) or None


def trivial_rate(history: RunHistory, stage: str = "val") -> float | None:
    """Accuracy of always naming the most frequent class of ``stage``; 1 / classes when the counts are not known.

    None with several labels per sample, whose combinations are not counted.
    """
    if history.context.task == "multilabel":
        return None
    seen = class_counts(history, stage)
    if sum(seen):
        return max(seen) / sum(seen)
    number_of_classes = classes(history)
    return 1 / number_of_classes if number_of_classes else None


def above_trivial(history: RunHistory, stage: str) -> float | None:
    """p-value that the best evaluation of ``stage`` is no better than trivial, corrected for the number of looks."""
    best, rate = best_count(history, stage), trivial_rate(history, stage)
    if best is None or rate is None or rate >= 1:  # of one class nothing can be better than trivial
        return None
    p_value = statistics.binomial(best[1], rate, "greater")
    return statistics.corrected(p_value, len(counts(history, stage)))


def learned(history: RunHistory, stage: str = "val", alpha: float = ALPHA) -> bool | None:
    """Whether ``stage`` was ever established to be better than trivial; None when nothing recorded tells.

    Accuracy decides where it was counted, and with it the answers by class: among 95 % of one class no accuracy is
    much above trivial, and telling the other one apart is learning all the same; with a loss below the trivial one the
    milder level :data:`SIGN` will do, as these are two signs. Without counts the loss, which must have come
    10 % below the trivial one (a model that only learns the class frequencies reaches it, and one that learns anything
    else soon passes below). With several labels per sample one label that is told apart is enough. For CTC, where whole
    lines are counted, the loss against the trivial one, else the token error rate.
    """
    if history.context.task == "ctc":
        return _ctc_learned(history, stage)
    if history.context.task == "dense" and counts(history, stage):
        return _dense_learned(history, stage)
    best, trivial = history.series(f"{stage}/loss").best("min"), trivial_loss(history)
    below = best[1] < 0.9 * trivial if best and trivial else None
    if history.context.task == "multilabel":
        by_chance = labels_by_chance(history, stage)
        return below if by_chance is None else by_chance < (SIGN if below else alpha)
    p_value = above_trivial(history, stage)
    if p_value is None:
        return below
    return statistics.corrected(min(p_value, _association(history, stage)), 2) < (SIGN if below else alpha)


def _association(history: RunHistory, stage: str) -> float:
    """p-value that the last answers by class have nothing to do with the labels; 1 where classes were not counted."""
    table = cells(last_rows(history, stage))
    return statistics.association(table) if table else 1.0


def last_rows(history: RunHistory, stage: str) -> ClassRows:
    """Rows of the last evaluation of ``stage`` that has them; none where no evaluation does."""
    return next((record.classes for _, record in reversed(history.stage(stage)) if record.classes), ClassRows())


def cells(rows: ClassRows) -> list[tuple[int, int, int]]:
    """(support, predicted, correct) of each class; none unless each sample has one label and one answer."""
    if not rows:
        return []
    _, support, predicted, correct = rows.columns()
    single = -1 not in predicted and sum(predicted) == sum(support)
    return list(zip(support, predicted, correct, strict=True)) if single else []


AGREEMENT = 0.1
"""Part of the errors of an answer that ignores the input which a dense model must avoid to have learned something."""


def _dense_learned(history: RunHistory, stage: str) -> bool | None:
    """For dense tasks a size of effect decides: positions depend on each other, so that any test of them passes.

    Cohen's kappa of the last answers by class, else the errors against those of always naming the largest class.
    """
    table = cells(last_rows(history, stage))
    if table:
        return statistics.kappa(table) >= AGREEMENT
    best, rate = best_count(history, stage), trivial_rate(history, stage)
    return None if best is None or rate is None else 1 - best[1].rate < (1 - AGREEMENT) * (1 - rate)


def _ctc_learned(history: RunHistory, stage: str) -> bool | None:
    ratio = history.series(f"ctc/{stage}/loss_ratio").best("min")
    errors = history.series(f"ctc/{stage}/ter").best("min")
    if ratio is None and errors is None:
        return None
    return bool(ratio and ratio[1] < 0.9) or bool(errors and errors[1] < 0.95)


def train_rate(history: RunHistory) -> float:
    """The best training accuracy that was counted; 1 where none was."""
    found = [best[1].rate for stage in ("train", "probe") if (best := best_count(history, stage))]
    return max(found, default=1.0)


def could_be_good(history: RunHistory, stage: str, goal: float = 1.0) -> bool:
    """Whether the last count leaves open that ``stage`` got half of the way from trivial to ``goal``; False without counts.

    That 8 of 10 are not established to be better than chance does not say that they are chance.
    """
    last, rate = final_count(history, stage), trivial_rate(history, "val" if stage == "val" else "train")
    if history.context.task == "multilabel":
        last, rate = recall_of_labels(history, stage) or (None, None)
    return last is not None and rate is not None and statistics.wilson(last).high > (rate + goal) / 2


def late(values: Sequence[float], most: int = 3) -> float:
    """Median of the last ``most`` values: one odd evaluation at the end does not decide."""
    return float(median(values[-most:]))


def since_above(series: Series, limit: float) -> int | None:
    """The epoch from which ``series`` stays at ``limit`` or above to its end; None when its last value is below."""
    below = [i for i, value in enumerate(series.values) if value < limit]
    first = below[-1] + 1 if below else 0
    return series.epochs[first] if first < len(series) else None


def after(series: Series, epoch: int) -> Series:
    """The part of ``series`` from ``epoch`` on."""
    kept = [(e, v) for e, v in series if e >= epoch]
    return Series(series.name, tuple(e for e, _ in kept), tuple(v for _, v in kept))


def relative_fall(series: Series) -> float:
    """Relative fall of a positive series from its first finite value to its late level; 0 when it is too short."""
    values = series.finite.values
    if len(values) < 2 or values[0] <= 0:
        return 0.0
    return (values[0] - late(values, min(3, len(values) - 1))) / values[0]


def seen(history: RunHistory, name: str, label: str, expected: float | None = None) -> Evidence:
    """Evidence that tells the course of a scalar: ``label 2.3 → 0.41 (epochs 0–9)``."""
    course = history.series(name)
    first, last = course.values[0], course.values[-1]
    shown = percent if name.endswith("/acc") else number
    text = f"{label} {shown(first)} → {shown(last)} (epochs {course.epochs[0]}–{course.epochs[-1]})"
    return Evidence(signal=name, text=text, epoch=course.epochs[-1], observed=last, expected=expected)


STAGE_NAMES = {"val": "validation", "train": "training"}
"""How a stage is called in a sentence."""


def steps_per_epoch(history: RunHistory) -> int | None:
    """Optimiser steps per epoch, from the recorded steps or the loader."""
    batches = history.context.data.train.batches
    accumulate = history.context.optim.accumulate or 1
    return max(1, batches // accumulate) if batches else None


def pretrained(history: RunHistory) -> PretrainFacts | None:
    """What is known about a checkpoint that was named; None when none was, or when nothing could be told."""
    facts = history.context.pretrain
    return facts if facts is not None and facts.verdict != "cannot tell" else None


def stuck(history: RunHistory) -> bool | None:
    """Whether training got nowhere: no better than an answer that ignores the input; None when nothing tells.

    One sign of learning is enough: the probe holds few samples, and what answers new samples has learned something.
    For CTC the loss against the trivial one, else a token error rate that stays above 95 %.
    """
    ratio = history.series("ctc/train/loss_ratio").finite or history.series("ctc/val/loss_ratio").finite
    if len(ratio):
        return late(ratio.values) > 0.85
    errors = history.series("ctc/train/ter").finite or history.series("ctc/val/ter").finite
    if len(errors):
        return late(errors.values) > 0.95
    known = [learned(history, stage) for stage in ("probe", "train", "val")]
    if known == [None] * 3:
        return None
    return True not in known and not any(could_be_good(history, stage) for stage in ("probe", "train"))


def movement(history: RunHistory) -> float | None:
    """Sum over the epochs of update norm over weight norm: how far the weights can have moved, in units of themselves."""
    ratios = history.series("update/ratio").finite
    return sum(ratios.values) if len(ratios) else None


def loss_scale(history: RunHistory) -> float | None:
    """What there was to learn, in nats: the trivial loss, else the first training loss."""
    first = history.series("loss/first").finite.values or history.series("train/loss").finite.values
    return trivial_loss(history) or (first[0] if first else None)
