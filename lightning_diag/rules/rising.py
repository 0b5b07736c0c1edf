"""Whether a loss rose again after its best, and what accuracy and training say to that."""

from __future__ import annotations

from lightning_diag import statistics
from lightning_diag.findings import Evidence
from lightning_diag.history import RunHistory, Series
from lightning_diag.rules.reading import after, count_from, final_count, late
from lightning_diag.words import of


def rose(best: float, rising: Series, share: float) -> bool:
    """The last value lies ``share`` above ``best``, and the late level half of that."""
    return rising.values[-1] >= best * (1 + share) and late(rising.values) >= best * (1 + share / 2)


def rises_steadily(rising: Series, alpha: float) -> bool:
    """The series goes up from its best on, by the Mann-Kendall test at level ``alpha``."""
    course = statistics.trend(rising.values)
    return course.slope > 0 and course.p_value < alpha


def errors_apart(history: RunHistory, limit: float) -> bool:
    """Whether the token error rates of both stages lie ``limit`` apart at the end."""
    train, val = history.series("ctc/train/ter").finite, history.series("ctc/val/ter").finite
    return bool(len(train) and len(val)) and late(val.values) - late(train.values) > limit


def training_improved(history: RunHistory, epoch: int) -> bool:
    """Training got better after the best validation epoch, or had nothing left to gain."""
    whole = history.series("train/loss").finite
    loss = after(whole, epoch)
    if len(loss) >= 2:
        floor = min(whole.values)
        return late(loss.values) < loss.values[0] or late(loss.values) <= floor + 0.05 * (whole.values[0] - floor)
    accuracy = after(history.series("train/acc").finite, epoch)
    return len(accuracy) >= 2 and late(accuracy.values) >= accuracy.values[0]


def accuracy_against(history: RunHistory, epoch: int) -> tuple[Evidence, ...]:
    """Validation accuracy that did not fall speaks for mere over-confidence."""
    then, now = count_from(history, epoch), final_count(history, "val")
    if then is None or now is None or now.rate < then.rate:
        return ()
    text = f"validation accuracy did not fall with it: {of(then)} in epoch {epoch}, {of(now)} at the end"
    return (Evidence(signal="val/acc", text=text, observed=now.rate, expected=then.rate),)
