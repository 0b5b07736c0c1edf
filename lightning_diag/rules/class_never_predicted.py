"""LD302: a class that is never the answer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from lightning_diag import statistics
from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import ClassRow, RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.class_mix import balancing
from lightning_diag.rules.independence import claim, independent, positions
from lightning_diag.rules.reading import ALPHA, NO_ANSWERS, last_rows
from lightning_diag.words import listed, p


@dataclass(frozen=True, kw_only=True)
class ClassNeverPredicted(Rule):
    """A class with samples in validation is never predicted."""

    code: ClassVar[str] = "LD302"
    name: ClassVar[str] = "class-never-predicted"
    needs: ClassVar[tuple[str, ...]] = ("classes:val",)
    tasks: ClassVar[tuple[str, ...]] = ("multiclass", "binary", "dense")

    alpha: float = ALPHA
    """Probability that so many classes, or one so frequent, are never predicted although each is as often as it occurs
    (Poisson): from 6 samples on where one class of a few is missed."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        rows = last_rows(history, "val")
        if any(row.predicted is None and row.support and not row.correct for row in rows):
            raise CannotTellError(NO_ANSWERS)
        lost = [row for row in rows if row.support and row.predicted == 0]
        chances = [math.exp(-row.support) for row in rows if row.support]
        p_value = statistics.absent_by_chance(chances, [row.predicted == 0 for row in rows if row.support])
        if p_value >= self.alpha or not any(map(_answered, rows)):
            return None
        names = listed([f"{history.class_name(row.index)} (0/{row.support})" for row in lost])
        total, whole = sum(row.support for row in lost), independent(history)
        chance = (
            f"were each class the answer as often as it occurs, chance alone would leave so many out with {p(p_value)}"
        )
        return self.finding(
            severity="warning",
            confidence=0.9,
            claim=claim(history),
            title=f"{len(lost)} of {sum(1 for r in rows if r.support)} classes are never predicted",
            summary=f"Never predicted in the last evaluation: {names}.",
            evidence=(
                Evidence(
                    signal="val/classes",
                    text=chance if whole else f"{total:,} positions of these classes and not one answer",
                    observed=0.0,
                    expected=float(total),
                    p_value=p_value if whole else None,
                ),
            ),
            against=positions(history),
            why="The model cannot give this answer; accuracy hides it when the class is rare.",
            actions=(
                "count the class in the training set",
                balancing(history),
                "check the label map of this class",
            ),
            next_test="show the model 10 training samples of the class: never predicted there either means that it was never learned",
            scope="class",
            explains=(),
        )

    def clear_text(self, history: RunHistory) -> str:
        """How many classes are predicted."""
        rows = last_rows(history, "val")
        return f"{sum(1 for r in rows if r.support and _answered(r))} of {sum(1 for r in rows if r.support)} classes predicted"


def _answered(row: ClassRow) -> bool:
    """Whether the class was ever the answer; a right answer tells, where the answers were not counted."""
    return bool(row.predicted or row.correct)
