"""LD612: batches of one class each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.consequences import NOTHING_LEARNED
from lightning_diag.words import percent


@dataclass(frozen=True, kw_only=True)
class SortedBatches(Rule):
    """Training batches are sorted by class instead of shuffled."""

    code: ClassVar[str] = "LD612"
    name: ClassVar[str] = "sorted-batches"
    needs: ClassVar[tuple[str, ...]] = ("data.train.label_purity|batch/purity",)

    excess: float = 0.5
    """Part of the way from the expected purity to 1. The mean over dozens of shuffled batches strays from its expectation by
    a few hundredths; half of the way is data in runs of a class at least half a batch long."""
    hopeless: float = 0.9
    """Expected purity above which one class fills every batch anyway, and nothing can be told."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        split = history.context.data.train
        course = history.series("batch/purity").finite
        purity = split.label_purity if split.label_purity is not None else (course.values[-1] if len(course) else None)
        if purity is None:
            raise CannotTellError("the labels of training batches were not captured")
        expected = split.purity_expected
        if expected is None:
            raise CannotTellError("the class counts are not known, so that shuffled batches have no expected purity")
        if expected > self.hopeless:
            raise CannotTellError(
                f"one class fills {percent(expected)} of a shuffled batch, too much to tell a sorted one"
            )
        if purity < expected + self.excess * (1 - expected):
            return None
        text = f"{percent(purity)} of a batch is one class on average; {percent(expected)} if shuffled"
        order = " (shuffle is off)" if split.shuffled is False else ""
        return self.finding(
            severity="error",
            confidence=0.97,
            claim="established",
            title=f"Batches are sorted by class: {percent(purity)} of a batch is one class",
            summary=f"Training batches are sorted by class{order}: {text}.",
            evidence=(Evidence(signal="batch/purity", text=text, observed=purity, expected=expected),),
            why="Each step pulls all answers towards one class and forgets the others; the last classes of an epoch win.",
            actions=(
                "DataLoader(..., shuffle=True)",
                "for an iterable data set, shuffle when it is written, or use a shuffle buffer larger than a class",
            ),
            next_test="shuffle and train for two epochs: the saw-tooth of the step loss goes away",
            scope="data",
            explains=(
                *NOTHING_LEARNED,
                "LD102",
                "LD104",
                "LD106",
                "LD111",
                "LD113",
                "LD201",
                "LD203",
                "LD303",
                "LD606",
                "LD607",
                "LD705",
            ),
        )
