"""Whether accuracy was still rising when the run ended, where its loss does not say so."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_diag import statistics
from lightning_diag.history import Count, RunHistory
from lightning_diag.rules.reading import after, counts, final_count
from lightning_diag.rules.rising import SIGMAS, rose
from lightning_diag.words import of, percent, title

LEAST = 5
"""Evaluations in the last part of a run: the fewest that are in order by chance less than once in twenty (2 in 120)."""
LAST = 3
"""The best evaluation is one of the last three, as many as a late level is taken from."""
LOSS_UP = 0.15
"""Relative rise of the validation loss from which LD201 or LD207 speak: longer training would raise it further."""


@dataclass(frozen=True, kw_only=True)
class Rise:
    """Training and validation accuracy over the last part of a run: its last half, five evaluations or more.

    Attributes:
        epoch, last: the first and the last epoch of that part.
        then, now: validation accuracy in both.
        train: training accuracy in both.
        share: the rise of validation as a share of its whole gain since the first evaluation, at most 1.
        name: what is counted, ``accuracy`` or ``exact match``.
    """

    epoch: int
    last: int
    then: Count
    now: Count
    train: tuple[Count, Count]
    share: float
    name: str

    @property
    def text(self) -> str:
        """Both rises as a clause."""
        return (
            f"validation {self.name} {of(self.then)} → {of(self.now)} since epoch {self.epoch}, "
            f"training {of(self.train[0])} → {of(self.train[1])}"
        )

    @property
    def short(self) -> str:
        """The rise of validation without its counts."""
        return f"{percent(self.then.rate, self.then.n)} → {percent(self.now.rate, self.now.n)}"


def rise_at_end(history: RunHistory, room: float) -> Rise | None:
    """The rise of both accuracies over the last part of the run; None where one of them is not there.

    Training rises by the Mann-Kendall test; validation by more than three times the noise of its series and by so many
    answers (six) that pairs of them could establish it, its best among the last three. ``room`` is the share of training samples that must be wrong
    still. A validation loss that rose from its best says that longer training has a price, which other rules tell.
    """
    val = counts(history, "val")
    part = val[-max(LEAST, len(val) // 2) :]
    if history.context.task == "ctc" or len(part) < LEAST or _loss_up(history):  # of CTC, whole lines are counted
        return None
    (epoch, then), (last, now) = part[0], part[-1]
    train = _training(history, epoch, room)
    rates = [count.rate for _, count in val]
    gained = round((now.rate - then.rate) * now.n)
    if train is None or max(rates) > max(rates[-LAST:]):
        return None
    strays = SIGMAS * statistics.noise_about_curve(rates)
    if gained <= 0 or now.rate - then.rate <= strays or statistics.mcnemar(gained, 0) >= statistics.CUSTOMARY:
        return None
    whole = now.rate - rates[0]
    share = min(1.0, (now.rate - then.rate) / whole) if whole > 0 else 1.0
    name = title("val/acc", history.context.task).removeprefix("validation ")
    return Rise(epoch=epoch, last=last, then=then, now=now, train=train, share=share, name=name)


def _training(history: RunHistory, epoch: int, room: float) -> tuple[Count, Count] | None:
    """Training accuracy since ``epoch`` at both ends, where it rises and neither measure of it is near its ceiling."""
    ends = [count for stage in ("train", "probe") if (count := final_count(history, stage))]
    stage = "train" if counts(history, "train") else "probe"
    part = [(e, count) for e, count in counts(history, stage) if e >= epoch]
    if not part or any(1 - count.rate < room for count in ends):
        return None
    course = statistics.trend([count.rate for _, count in part], [e for e, _ in part])
    return (part[0][1], part[-1][1]) if course.slope > 0 and course.p_value < statistics.CUSTOMARY else None


def _loss_up(history: RunHistory) -> bool:
    loss = history.series("val/loss").finite
    best = loss.best("min")
    return best is not None and (best[1] <= 0 or rose(best[1], after(loss, best[0]), LOSS_UP))


def best_among_last(history: RunHistory) -> bool:
    """Whether the epoch that the whole report calls the best is one of the last three evaluated."""
    record = history.best_record()
    return record is not None and record.epoch in history.series("val/loss").finite.epochs[-LAST:]
