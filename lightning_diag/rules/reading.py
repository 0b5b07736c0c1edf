"""Questions about a history that several rules ask, each answered in one place.

*Trivial* is what a model reaches that ignores its input: the loss of always answering with the class frequencies, the
accuracy of always naming the most frequent class.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from statistics import median

from lightning_diag import statistics
from lightning_diag.findings import Evidence
from lightning_diag.history import Count, PretrainFacts, RunHistory, Series
from lightning_diag.words import number, of, percent

ALPHA = 0.01
"""Error rate of one rule's test. About thirty rules test something, so that a healthy run of independent signals would
meet one false claim in three runs at 0.05; at 0.01 and with the size of effect that each rule asks for besides, the
rate measured on healthy random configurations stays below one in a hundred."""


def counts(history: RunHistory, stage: str) -> list[tuple[int, Count]]:
    """(epoch, accuracy as a count) of every evaluation of ``stage`` that has one; ``probe`` is the one of training."""
    if stage == "probe" and not history.stage(stage):
        sizes, rates = dict(history.series("probe/train_n").finite), history.series("probe/train_acc").finite
        return [
            (e, Count(k=round(rate * sizes[e]), n=int(sizes[e]))) for e, rate in rates if _countable(sizes.get(e), rate)
        ]
    return [(epoch, record.correct) for epoch, record in history.stage(stage) if record.correct and record.correct.n]


def _countable(size: float | None, rate: float) -> bool:
    return size is not None and size >= 1 and 0 <= rate <= 1


def final_count(history: RunHistory, stage: str) -> Count | None:
    """Accuracy of the last evaluation."""
    found = counts(history, stage)
    return found[-1][1] if found else None


def best_count(history: RunHistory, stage: str) -> tuple[int, Count] | None:
    """(epoch, accuracy) of the best evaluation, the earliest of equals."""
    found = counts(history, stage)
    return max(found, key=lambda pair: (pair[1].rate, -pair[0])) if found else None


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
    """Samples per class index: what was seen in an evaluation, else what the data set holds."""
    facts = history.context.data.train if stage == "train" else history.context.data.val
    if facts.class_counts:
        return facts.class_counts
    record = history.last_stage(stage)
    rows = sorted(record.classes, key=lambda row: row.index) if record else []
    return tuple(row.support for row in rows)


def trivial_loss(history: RunHistory) -> float | None:
    """Loss in nats of always answering with the class frequencies; ln(classes) when those are not known."""
    seen = class_counts(history, "train") or class_counts(history, "val")
    total = sum(seen)
    if total:
        return -sum(c / total * math.log(c / total) for c in seen if c) or None
    number_of_classes = classes(history)
    return math.log(number_of_classes) if number_of_classes and number_of_classes > 1 else None


def trivial_rate(history: RunHistory, stage: str = "val") -> float | None:
    """Accuracy of always naming the most frequent class of ``stage``; 1 / classes when the counts are not known."""
    seen = class_counts(history, stage)
    if sum(seen):
        return max(seen) / sum(seen)
    number_of_classes = classes(history)
    return 1 / number_of_classes if number_of_classes else None


def above_trivial(history: RunHistory, stage: str) -> float | None:
    """p-value that the best evaluation of ``stage`` is no better than trivial, corrected for the number of looks."""
    best, rate = best_count(history, stage), trivial_rate(history, stage)
    if best is None or rate is None:
        return None
    return statistics.corrected(statistics.binomial(best[1], rate, "greater"), len(counts(history, stage)))


def learned(history: RunHistory, stage: str = "val", alpha: float = ALPHA) -> bool | None:
    """Whether ``stage`` was ever established to be better than trivial; None when nothing recorded tells.

    Accuracy decides where it was counted; else the loss, which must have come 10 % below the trivial one (a model that
    only learns the class frequencies reaches it, and one that learns anything else soon passes below). For CTC, where
    whole lines are counted, the loss against the trivial one, else the token error rate.
    """
    if history.context.task == "ctc":
        return _ctc_learned(history, stage)
    p_value = above_trivial(history, stage)
    if p_value is not None:
        return p_value < alpha
    best, trivial = history.series(f"{stage}/loss").best("min"), trivial_loss(history)
    return best[1] < 0.9 * trivial if best and trivial else None


def _ctc_learned(history: RunHistory, stage: str) -> bool | None:
    ratio = history.series(f"ctc/{stage}/loss_ratio").best("min")
    errors = history.series(f"ctc/{stage}/ter").best("min")
    if ratio is None and errors is None:
        return None
    return bool(ratio and ratio[1] < 0.9) or bool(errors and errors[1] < 0.95)


def late(values: Sequence[float], most: int = 3) -> float:
    """Median of the last ``most`` values: one odd evaluation at the end does not decide."""
    return float(median(values[-most:]))


def after(series: Series, epoch: int) -> Series:
    """The part of ``series`` from ``epoch`` on."""
    kept = [(e, v) for e, v in series if e >= epoch]
    return Series(series.name, tuple(e for e, _ in kept), tuple(v for _, v in kept))


def fall(series: Series) -> float:
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


def accuracy_evidence(epoch: int, stage: str, count: Count, expected: float | None = None) -> Evidence:
    """Evidence of one accuracy with its interval."""
    interval = statistics.wilson(count)
    text = f"epoch {epoch}: {STAGE_NAMES.get(stage, stage)} {of(count)} [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"
    return Evidence(signal=f"{stage}/acc", text=text, epoch=epoch, observed=count.rate, expected=expected)


STAGE_NAMES = {"val": "validation", "train": "training"}
"""How a stage is called in a sentence."""


def gap(history: RunHistory) -> tuple[Count, Count] | None:
    """(training, validation) accuracy at the end, by the measure of training that establishes more of a gap.

    The running accuracy rests on all samples, and dropout and moving weights lower it; the probe in eval mode has neither
    fault and few samples. Each understates the gap in its own way.
    """
    val = final_count(history, "val")
    both = [count for stage in ("train", "probe") if (count := final_count(history, stage))]
    if val is None or not both:
        return None
    return max(both, key=lambda count: statistics.difference(count, val).low), val


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

    For CTC the loss against the trivial one, else a token error rate that stays above 95 %.
    """
    ratio = history.series("ctc/train/loss_ratio").finite or history.series("ctc/val/loss_ratio").finite
    if len(ratio):
        return late(ratio.values) > 0.85
    errors = history.series("ctc/train/ter").finite or history.series("ctc/val/ter").finite
    if len(errors):
        return late(errors.values) > 0.95
    known = learned(history, "probe")
    known = learned(history, "train") if known is None else known
    return None if known is None else not known


def movement(history: RunHistory) -> float | None:
    """Sum over the epochs of update norm over weight norm: how far the weights can have moved, in units of themselves."""
    ratios = history.series("update/ratio").finite
    return sum(ratios.values) if len(ratios) else None


def loss_scale(history: RunHistory) -> float | None:
    """What there was to learn, in nats: the trivial loss, else the first training loss."""
    first = history.series("loss/first").finite.values or history.series("train/loss").finite.values
    return trivial_loss(history) or (first[0] if first else None)


def validation_ahead(history: RunHistory, margin: float) -> list[tuple[int, Count, Count]]:
    """(epoch, training, validation) of the evaluations where validation is established to be ahead by ``margin``.

    When the module has neither dropout nor batch normalisation, training accuracy is the running one of the *following*
    epoch, which the weights only improve; else that of the probe in eval mode.
    """
    val, probe = dict(counts(history, "val")), dict(counts(history, "probe"))
    running = counts(history, "train")
    if _plain(history) and len(running) > 1:
        probe = {e: following for (e, _), (_, following) in itertools.pairwise(running)}
    pairs = [(e, probe[e], val[e]) for e in sorted(val) if e in probe]
    return [(e, t, v) for e, t, v in pairs if statistics.difference(v, t).low > margin]


def _plain(history: RunHistory) -> bool:
    """Whether training and eval mode are the same to the module."""
    return history.context.model.dropout is False and history.context.model.batch_norm is False


def training_measure(history: RunHistory) -> str:
    """What :func:`validation_ahead` compared validation with, as a clause."""
    return "in the following epoch" if _plain(history) and len(counts(history, "train")) > 1 else "in eval mode"
