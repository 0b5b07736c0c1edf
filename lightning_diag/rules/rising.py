"""Whether a loss rose again after its best, and what accuracy and training say to that."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lightning_diag import statistics
from lightning_diag.findings import Evidence
from lightning_diag.history import RunHistory, Series
from lightning_diag.rules.independence import differ
from lightning_diag.rules.reading import after, count_from, final_count, late
from lightning_diag.words import of, percent


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


@dataclass(frozen=True, kw_only=True)
class Course:
    """Validation accuracy from the epoch of the lowest loss to the end, or one minus the token error rate.

    Attributes:
        then, now: the two rates. text: both, as counts where they were counted, or as token error rates.
        rose: the rise is established. fell: it fell by more than one evaluation strays by.
        errors: the text gives error rates.
    """

    then: float
    now: float
    text: str
    rose: bool
    fell: bool
    errors: bool = False

    @property
    def name(self) -> str:
        """What ``text`` is about."""
        return "token error rate" if self.errors else "accuracy"

    @property
    def worse(self) -> str:
        """The direction in which it would have got worse."""
        return "rise" if self.errors else "fall"


def accuracy_since(history: RunHistory, epoch: int) -> Course | None:
    """What validation accuracy did since ``epoch``; None when it was not recorded in both.

    Counts are compared by Fisher's exact test and the standard error of one evaluation, bare rates by the noise of
    their own series.
    """
    first, last = count_from(history, epoch), final_count(history, "val")
    if first is not None and last is not None:
        error = math.sqrt(max(first.rate * (1 - first.rate), 1e-9) / first.n)
        return Course(
            then=first.rate,
            now=last.rate,
            text=f"{of(first)} → {of(last)}",
            rose=last.rate > first.rate and differ(history, first, last) < statistics.CUSTOMARY,
            fell=first.rate - last.rate > error,
        )
    return _uncounted(history.series("val/acc").finite, epoch)


def answers_since(history: RunHistory, epoch: int) -> Course | None:
    """The same as a report tells it: of a reader the token error rate, since few of its lines are without an error."""
    ter = history.series("ctc/val/ter").finite
    if history.context.task != "ctc" or not len(ter):
        return accuracy_since(history, epoch)
    return _uncounted(Series(ter.name, ter.epochs, tuple(1 - value for value in ter.values)), epoch, errors=True)


def _uncounted(whole: Series, epoch: int, *, errors: bool = False) -> Course | None:
    rates = after(whole, epoch).values
    if len(rates) < 2:
        return None
    strays = statistics.noise(whole.values)
    first, last = (1 - rates[0], 1 - rates[-1]) if errors else (rates[0], rates[-1])
    return Course(
        then=rates[0],
        now=rates[-1],
        text=f"{percent(first)} → {percent(last)}",
        rose=rates[-1] - rates[0] > SIGMAS * strays,
        fell=rates[0] - rates[-1] > strays,
        errors=errors,
    )


SIGMAS = 3.0
"""Standard deviations of the series that a rise of uncounted rates must exceed to be established."""


def accuracy_against(course: Course | None) -> tuple[Evidence, ...]:
    """Answers that did not get worse speak for mere over-confidence."""
    if course is None or course.now < course.then:
        return ()
    text = f"validation {course.name} did not {course.worse} with it ({course.text}): over-confidence (LD207) is what it cost so far"
    return (Evidence(signal="val/acc", text=text, observed=course.now, expected=course.then),)
