"""LD601: the validation set is too small for what is read off it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from lightning_diag import statistics
from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import Count, RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.falls import left_open
from lightning_diag.rules.independence import UNKNOWN, as_samples, independent
from lightning_diag.rules.independence import claim as claim_of
from lightning_diag.rules.reading import best_count, classes
from lightning_diag.words import EXACT_MATCH, number, of


@dataclass(frozen=True, kw_only=True)
class ValidationSetTooSmall(Rule):
    """The interval of the best accuracy is so wide that epochs and settings cannot be ranked."""

    code: ClassVar[str] = "LD601"
    name: ClassVar[str] = "validation-set-too-small"
    needs: ClassVar[tuple[str, ...]] = ("stage:val",)

    width: float = 0.40
    """Width of the 95 % Wilson interval at an accuracy of one half: at 40 points (20 samples or fewer) a model that
    guesses and one that is right nine times in ten cannot be told apart."""
    per_class: float = 3.0
    """Validation samples per class below which the recall of a class has only three or four possible values. That concerns
    single classes: accuracy over all of them is as sure as the number of samples makes it."""
    notable: float = 0.10
    """Width of the interval of the best accuracy that is worth knowing (``info``)."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        best = best_count(history, "val")
        if best is None:
            return None
        (epoch, counted), count = best, as_samples(history, best[1])
        if count is None:
            raise CannotTellError(UNKNOWN)
        interval, guess = statistics.wilson(count), statistics.wilson(Count(k=count.n // 2, n=count.n))
        wide, number_of_classes = interval.high - interval.low, classes(history)
        lines = history.context.task == "ctc"
        several = history.context.task in (
            "ctc",
            "multilabel",
        )  # many tokens or labels in each: samples per class say nothing
        each = count.n / number_of_classes if number_of_classes and not several and independent(history) else None
        small = guess.high - guess.low >= self.width
        claim, whole = left_open(history), independent(history)
        if not small and not whole:
            return None  # the interval is too wide rather than too narrow
        if not small and not claim and wide < self.notable:
            return self._single_classes(history, epoch, each)
        per = f", {number(round(each, 1))} per class" if each else ""
        single = EXACT_MATCH if history.context.task == "multilabel" else "accuracy"
        what = "the best share of lines without an error," if lines else f"the best {single}"
        text = f"{what} {of(counted)}{',' if lines else ''} lies between {100 * interval.low:.0f} and {100 * interval.high:.0f} %{'' if whole else AS_ONE}"
        drop = 100 * statistics.detectable(count.n, max(0.5, min(count.rate, 0.95)))
        return self.finding(
            severity="warning" if small or claim else "info",
            confidence=0.95,
            claim=claim_of(history),
            title=f"{count.n} validation samples: {100 * wide:.0f} points of uncertainty",
            summary=f"The validation set is too small to rank epochs or settings: {count.n} samples{per}, {text}{claim}.",
            evidence=(Evidence(signal="val/acc", text=text, epoch=epoch, observed=wide, expected=self.notable),),
            why=(
                f"Unpaired differences under about {drop:.0f} points are missed more often than one time in five"
                if whole
                else FEW
            )
            + ", and the best of many epochs looks better than it is.",
            actions=("k-fold cross-validation", "more validation samples", PAIRED),
            next_test="repeat the run with three other splits: the spread of the best accuracy is what one split cannot see",
            scope="val",
            epoch=epoch,
            explains=("LD304",),
        )

    def _single_classes(self, history: RunHistory, epoch: int, each: float | None) -> Finding | None:
        """Few samples per class, where no recall was recorded that *not established* would show with its interval."""
        record = history.last_stage("val")
        if each is None or each >= self.per_class or (record is not None and record.classes):
            return None
        text = f"{number(round(each, 1))} validation samples per class"
        return self.finding(
            severity="info",
            confidence=0.95,
            claim="established",
            title=text,
            summary=f"Single classes cannot be judged: {text}, so that a recall has only {math.ceil(each) + 1} possible values.",
            evidence=(Evidence(signal="val/acc", text=text, epoch=epoch, observed=each, expected=self.per_class),),
            why="A class that looks lost may be one sample.",
            actions=("judge all classes together", "more validation samples of each class"),
            next_test="the same recalls on another split: those that change were chance",
            scope="val",
            epoch=epoch,
        )


AS_ONE = " if each sample is taken as one answer, because its positions depend on each other"
FEW = "So few samples say little about others, however many positions each of them has"
PAIRED = "do not rank epochs by single evaluations; compare predictions paired by sample"
