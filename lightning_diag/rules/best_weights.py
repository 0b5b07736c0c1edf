"""Which weights to go on with: one answer for every rule and every section of a report."""

from __future__ import annotations

from lightning_diag.history import Baseline, RunHistory
from lightning_diag.words import title


def best_weights(history: RunHistory) -> str | None:
    """The best weights that are known, as a clause after *go on from*; None when nothing was measured to judge them by.

    Judged by the signal that the whole report calls *best* by. The start of the fit counts too, and wins ties: its
    checkpoint exists.
    """
    monitored, best = history.monitored(), history.best_record()
    if monitored is None or best is None:
        return None
    baseline = history.context.baseline
    if baseline is not None and start_is_best(history):
        where = f" of epoch {baseline.epoch}" if baseline.epoch is not None else ""
        return f"the weights{where} that this fit started from (nothing since was better by {title(monitored[0], history.context.task)})"
    by = title(monitored[0], history.context.task)
    return f"the weights of epoch {best.epoch}, the best so far by {by}{_kept(history)}"


def _kept(history: RunHistory) -> str:
    """The condition of the advice; empty where a path to the best weights is recorded. Nothing else tells what was saved."""
    return "" if history.context.stop.best_checkpoint else " (if a checkpoint of that epoch was kept)"


def go_on(history: RunHistory, epoch: int) -> str:
    """Advice which weights to take after an overfitted run whose loss was lowest in ``epoch``, and when to take those."""
    best, weights = history.best_record(), best_weights(history)
    if best is None or weights is None:
        return f"go on from the weights of epoch {epoch}, the best so far by validation loss{_kept(history)}"
    start, low = history.context.baseline, history.series("val/loss").best("min")
    lowest_is_start = start is not None and start.loss is not None and low is not None and start.loss <= low[1]
    if best.epoch == epoch or (lowest_is_start and start_is_best(history)):
        return f"go on from {weights}"
    return f"go on from {weights}; where probabilities count more than answers, from those of epoch {epoch}, where the loss was lowest"


def start_is_best(history: RunHistory) -> bool:
    """Whether the fit started from weights that none of its epochs has bettered."""
    monitored, best, baseline = history.monitored(), history.best_record(), history.context.baseline
    if monitored is None or best is None or baseline is None:
        return False
    (signal, mode), start = monitored, baseline_value(baseline, monitored[0])
    sign = 1.0 if mode == "max" else -1.0
    return start is not None and sign * start >= sign * best.values[signal]


def baseline_value(baseline: Baseline, signal: str) -> float | None:
    """The baseline in ``signal``: its count, its loss, or the bare value the user gave; None where it is not known."""
    if signal == "val/loss":
        return baseline.loss
    if baseline.correct is not None and baseline.correct.n:
        return baseline.correct.rate if signal == "val/acc" else None
    return baseline.value
