"""LD608: validation labels that are a permutation of the right ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import Count, RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.reading import gap
from lightning_diag.words import listed, of, percent


@dataclass(frozen=True, kw_only=True)
class ValidationLabelsWrong(Rule):
    """Classes of the validation set are mapped onto each other: its label map differs from that of training."""

    code: ClassVar[str] = "LD608"
    name: ClassVar[str] = "validation-labels-wrong"
    needs: ClassVar[tuple[str, ...]] = ("stage:val",)

    share: float = 0.5
    """Share of a class's samples that get the other label, and of the answers with that label that come from this class:
    more than half in both directions is a renaming and not a confusion."""
    support: int = 5
    """Samples of a class that must show it."""
    gain: float = 0.1
    """Accuracy that renaming wins; renaming at will wins little where the confusion is not one-to-one."""
    train: float = 0.1
    """Training accuracy may lie this much below the renamed validation accuracy: the model must know the classes."""

    def _renamed(self, matrix: tuple[tuple[int, ...], ...], i: int, j: int) -> bool:
        """Most of class ``i`` is answered with ``j``, and most answers ``j`` come from ``i``."""
        column = sum(row[j] for row in matrix)
        enough = sum(matrix[i]) >= self.support
        return enough and matrix[i][j] > self.share * max(sum(matrix[i]), column)

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        matrix = next((r.matrix for _, r in reversed(history.stage("val")) if r.matrix), ())
        if not matrix:
            raise CannotTellError("no confusion matrix was recorded (more than 64 classes, or no predictions)")
        to = _assignment(matrix)
        moved = [i for i, j in enumerate(to) if i != j and self._renamed(matrix, i, j)]
        total = sum(map(sum, matrix))
        hit = sum(row[i] for i, row in enumerate(matrix))
        mapped = sum(matrix[i][to[i]] if i in moved else matrix[i][i] for i in range(len(matrix)))
        ends = gap(history)
        if len(moved) < 2 or mapped - hit < self.gain * total or (ends and ends[0].rate < mapped / total - self.train):
            return None
        now, then = Count(k=hit, n=total), Count(k=mapped, n=total)
        names = listed([f"{history.class_name(i)} is answered with {history.class_name(to[i])}" for i in moved], 3)
        text = f"validation {of(now)}, and {of(then)} if classes are renamed ({names})"
        return self.finding(
            severity="error",
            confidence=0.97,
            claim="established",
            title=f"Validation labels are mapped differently: {percent(now.rate)} becomes {percent(then.rate)} after renaming",
            summary=f"The label map of validation differs from that of training: {text}.",
            evidence=(Evidence(signal="val/matrix", text=text, observed=now.rate, expected=then.rate),),
            why="The model is right and counted as wrong; its confidence makes the loss huge.",
            actions=(
                "compare class_to_idx of both data sets",
                "build one label map, from a sorted list of all classes, and use it in both",
            ),
            next_test="print 20 validation samples with the name of their label and of the prediction",
            scope="data",
            explains=("LD201", "LD202", "LD203", "LD207", "LD302", "LD303", "LD602", "LD607", "LD208"),
        )


def _assignment(matrix: tuple[tuple[int, ...], ...]) -> list[int]:
    """The one-to-one renaming of classes that makes most predictions right (Kuhn 1955)."""
    from scipy.optimize import linear_sum_assignment

    return [int(j) for j in linear_sum_assignment([list(row) for row in matrix], maximize=True)[1]]
