"""Whether a loss rose again after its best, and what accuracy and training say to that."""

from __future__ import annotations

from lightning_diag.findings import Evidence
from lightning_diag.history import RunHistory, Series
from lightning_diag.rules.reading import after, count_from, final_count, late
from lightning_diag.words import of


def rose(best: float, rising: Series, share: float) -> bool:
    """The last value lies ``share`` above ``best``, and the late level half of that."""
    return rising.values[-1] >= best * (1 + share) and late(rising.values) >= best * (1 + share / 2)


def errors_apart(history: RunHistory, limit: float) -> bool:
    """Whether the token error rates of both stages lie ``limit`` apart at the end."""
    train, val = history.series("ctc/train/ter").finite, history.series("ctc/val/ter").finite
    return bool(len(train) and len(val)) and late(val.values) - late(train.values) > limit


def training_improved(history: RunHistory, epoch: int) -> bool:
    """Training got better after the best validation epoch, or had nothing left to gain."""
    loss = after(history.series("train/loss").finite, epoch)
    if len(loss) >= 2:
        return late(loss.values) < loss.values[0]
    accuracy = after(history.series("train/acc").finite, epoch)
    return len(accuracy) >= 2 and late(accuracy.values) >= accuracy.values[0]


def accuracy_against(history: RunHistory, epoch: int) -> tuple[Evidence, ...]:
    """Validation accuracy that did not fall speaks for mere over-confidence."""
    then, now = count_from(history, epoch), final_count(history, "val")
    if then is None or now is None or now.rate < then.rate:
        return ()
    text = f"validation accuracy did not fall with it: {of(then)} in epoch {epoch}, {of(now)} at the end"
    return (Evidence(signal="val/acc", text=text, observed=now.rate, expected=then.rate),)
