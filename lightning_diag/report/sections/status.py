"""One word per epoch: what happened there."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from lightning_diag.history import Count, EpochRecord
from lightning_diag.report.view import View
from lightning_diag.rules.best_weights import baseline_value
from lightning_diag.rules.independence import independent
from lightning_diag.rules.no_targets import without_targets
from lightning_diag.statistics import noise

SIGMAS = 3.0
"""A fall from the evaluation before counts as a drop beyond three standard errors: by chance once in about 700."""
LEVEL = 1.0
"""Standard errors below the best so far that are still called level: what two evaluations of one model differ by."""
NEGLIGIBLE = 0.01
"""Rise of a loss, as a share of it, that is no drop however smooth the curve is."""

ENDINGS = {
    "finished": "final",
    "stopped": "stopped",
    "interrupted": "interrupted",
    "exception": "crashed",
    "running": "no end recorded",
}
EVENTS = {
    "resume": "resumed",
    "lr_restart": "learning rate restarts",
    "lr_rise": "learning rate rises",
    "would_stop": "would stop",
    "partial": "partial",
    "not_loaded": "weights not loaded",
}
"""Events that are shown as a word; the others follow from the numbers."""
SAME = frozenset({"level", "lower"})
"""Words for an evaluation that is neither better nor a drop; anything else that happened says more."""
MEANINGS = {
    "improving": "better than every epoch before",
    "level": "not better than the best so far, and within one standard error of it",
    "lower": "worse than the best so far by more than one standard error; no drop",
    "drop": f"worse than the evaluation before by more than {SIGMAS:.0f} standard errors",
    "recovering": "better than the evaluation before, after a drop",
    "overfitting": "validation loss above its lowest while training still improves",
    "would stop": "where AdaptiveEarlyStop would have ended the run",
    "best of this fit": "best since resuming, though the start was better",
    "not finite": "a loss is NaN or infinite, and the weights are not",
    "no targets": "the loss is NaN because not one target counted",
    "partial": "not all batches were evaluated",
}
"""What the words mean that do not say it themselves."""


@dataclass
class _Course:
    """What has to be remembered from one epoch to the next."""

    best: float
    best_count: Count | None = None
    before: float | None = None
    before_count: Count | None = None
    fell_from: float | None = None


def statuses(view: View) -> list[tuple[str, ...]]:
    """The words of every record of the history, most telling first (empty where there is nothing to say)."""
    spread = _spread(view)
    overfits = _overfitting_from(view)
    established = {f.epoch for f in view.diagnosis.findings if f.code == "LD503"}
    course = _start(view)
    resumed = view.history.context.baseline
    last = len(view.history.epochs) - 1
    words = []
    stops = _would_stop(view)
    for at, record in enumerate(view.history.epochs):
        found = [
            *_events(view, record),
            *(["would stop"] if at == stops else []),
            *_judge(view, record, course, spread),
        ]
        if record.epoch in established:
            found = ["drop", *(w for w in found if w not in {"drop", *SAME})]
        if resumed is not None and record.epoch == resumed.epoch:
            found.insert(0, "baseline")
        if overfits is not None and at > overfits[0] and _worse_but_fitting(record, overfits[1]):
            found = [w for w in found if w not in SAME] + ["overfitting"]
        ending = ENDINGS.get(view.history.context.stop.status, "final") if at == last else None
        words.append(tuple(dict.fromkeys([*found, ending] if ending else found)))
    return words


def _start(view: View) -> _Course:
    signal, mode = view.metric
    baseline = view.history.unrecorded_baseline()
    value = baseline_value(baseline, signal) if baseline is not None else None
    count = baseline.correct if baseline is not None and signal == "val/acc" else None
    worst = -math.inf if mode == "max" else math.inf
    return _Course(best=worst if value is None else value, best_count=count, before=value, before_count=count)


def _would_stop(view: View) -> int | None:
    """Position of the evaluation after which the criterion would have stopped, where only its replay says so."""
    epoch = view.would_stop
    if epoch is None or any(event.kind == "would_stop" for record in view.history.epochs for event in record.events):
        return None
    return max((i for i, record in enumerate(view.history.epochs) if record.epoch == epoch), default=None)


def _events(view: View, record: EpochRecord) -> Iterator[str]:
    for event in record.events:
        if event.kind in EVENTS and (event.kind != "would_stop" or view.saves(record)):
            yield EVENTS[event.kind]


def _judge(view: View, record: EpochRecord, course: _Course, spread: float) -> Iterator[str]:
    """Words for the monitored value, and the memory moved on by one evaluation."""
    signal, mode = view.metric
    value = record.values.get(signal)
    broken = [name for name in (signal, "train/loss", "val/loss") if not math.isfinite(record.values.get(name, 0.0))]
    lost = view.diverged is not None and record.epoch >= view.diverged
    if broken or (lost and record.values.get("loss/nonfinite_steps")):
        empty = broken and all(without_targets(view.history, record, name.partition("/")[0]) for name in broken)
        yield "no targets" if empty else "diverged" if lost else "not finite"
    if value is None or not math.isfinite(value):
        return
    sign, count = (1.0 if mode == "max" else -1.0), view.count(record) if independent(view.history) else None
    better = sign * (value - course.best) > 0
    if course.before is not None and _below(value, count, course.before, course.before_count, sign, spread) > SIGMAS:
        course.fell_from = course.best
        yield "drop"
    elif record is view.best and len(view.evaluated) > 1:
        yield "best" if better else "best of this fit"
    elif better and course.before is not None:
        yield "improving"
    elif course.fell_from is not None:
        up = course.before is not None and sign * (value - course.before) > 0
        yield "recovering" if up else _level(value, count, course, sign, spread)
    elif course.before is not None:
        yield _level(value, count, course, sign, spread)
    course.best, course.best_count = (value, count) if better else (course.best, course.best_count)
    course.fell_from = None if better else course.fell_from
    course.before, course.before_count = value, count


def _level(value: float, count: Count | None, course: _Course, sign: float, spread: float) -> str:
    """``level``, or ``lower`` where the value lies further below the best so far than one evaluation strays."""
    return "lower" if _below(value, count, course.best, course.best_count, sign, spread) > LEVEL else "level"


def _below(value: float, count: Count | None, other: float, of: Count | None, sign: float, spread: float) -> float:
    """By how many standard errors of the difference a value is worse than another one; 0 where nothing tells the error.

    Of counts with the four added answers of Agresti and Caffo (2000), without which the error is too small near 0 and 1.
    """
    error = max(spread, NEGLIGIBLE * abs(other) / SIGMAS) if math.isfinite(other) else spread
    if count is not None and of is not None and count.n and of.n:
        pooled = (count.k + of.k + 2) / (
            count.n + of.n + 4
        )  # one more of each in both: 11 of 12 is no lower than 12 of 12
        error = math.sqrt(pooled * (1 - pooled) * (1 / count.n + 1 / of.n))
    return sign * (other - value) / error if error > 0 else 0.0


def _spread(view: View) -> float:
    """Standard error of a difference of two evaluations, from the noise of the series itself."""
    series = view.history.series(view.metric[0]).finite
    return math.sqrt(2) * noise(series.values)


def _overfitting_from(view: View) -> tuple[int, EpochRecord] | None:
    """(position, record) of the lowest validation loss, if the diagnosis says that it overfits."""
    if view.diagnosis.finding("LD201") is None:
        return None
    found = view.history.series("val/loss").best("min")
    if found is None:
        return None
    return next(((i, r) for i, r in enumerate(view.history.epochs) if r.epoch == found[0]), None)


def _worse_but_fitting(record: EpochRecord, lowest: EpochRecord) -> bool:
    """Validation loss above its lowest while training has gone on improving."""
    pairs = [(record.values.get(n), lowest.values.get(n)) for n in ("val/loss", "train/loss", "train/acc")]
    (val, val_low), (loss, loss_low), (acc, acc_low) = pairs
    if val is None or val_low is None or not val > val_low:
        return False
    if loss is not None and loss_low is not None:
        return loss < loss_low
    return acc is not None and acc_low is not None and acc >= acc_low
