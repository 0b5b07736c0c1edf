"""LD608: validation labels that are a permutation of the right ones, or have nothing to do with the inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from lightning_diag import statistics
from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import Count, RunHistory
from lightning_diag.rules.base import NOT_IN_LOGS, CannotTellError, Rule
from lightning_diag.rules.chance import chance
from lightning_diag.rules.consequences import VALIDATION_BEHIND
from lightning_diag.rules.first_look import first_sight
from lightning_diag.rules.gaps import gap
from lightning_diag.rules.reading import ALPHA, best_count, classes, could_be_good, last_rows, learned, train_rate
from lightning_diag.rules.splits import looks_different
from lightning_diag.words import listed, of, percent


@dataclass(frozen=True, kw_only=True)
class ValidationLabelsWrong(Rule):
    """The labels of validation are mapped differently from those of training, or do not belong to their inputs."""

    code: ClassVar[str] = "LD608"
    name: ClassVar[str] = "validation-labels-wrong"
    needs: ClassVar[tuple[str, ...]] = ("stage:val",)
    tasks: ClassVar[tuple[str, ...]] = ("multiclass", "binary", "dense")

    share: float = 0.5
    """Share of a class's samples that get the other label, and of the answers with that label that come from this class:
    more than half in both directions is a renaming and not a confusion."""
    support: int = 5
    """Samples of a class that must show it."""
    gain: float = 0.1
    """Accuracy that renaming wins; renaming at will wins little where the confusion is not one-to-one. Less will do where
    training answers most of each of these classes right: two rare ones that were exchanged are few of all samples."""
    train: float = 0.1
    """Training accuracy may lie this much below the renamed validation accuracy: the model must know the classes."""

    def _renamed(self, matrix: tuple[tuple[int, ...], ...], i: int, j: int) -> bool:
        """Most of class ``i`` is answered with ``j``, and most answers ``j`` come from ``i``."""
        column = sum(row[j] for row in matrix)
        enough = sum(matrix[i]) >= self.support
        return enough and matrix[i][j] > self.share * max(sum(matrix[i]), column)

    def _known(self, history: RunHistory, matrix: tuple[tuple[int, ...], ...], i: int) -> bool:
        """Most of class ``i`` is answered right in training, and established to be worse in validation."""
        row = next((r for r in last_rows(history, "train") if r.index == i), None)
        if row is None or row.correct <= self.share * row.support:
            return False
        here = Count(k=matrix[i][i], n=sum(matrix[i]))
        return statistics.fisher(Count(k=row.correct, n=row.support), here) < ALPHA

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        matrix = next((tuple(r.matrix) for _, r in reversed(history.stage("val")) if r.matrix), ())
        found = (self._mapped(history, matrix) if matrix else None) or self._unrelated(history)
        if found is None and not matrix:
            raise CannotTellError(NOT_IN_LOGS if history.foreign else _no_matrix(history))
        return found

    def _mapped(self, history: RunHistory, matrix: tuple[tuple[int, ...], ...]) -> Finding | None:
        to = _assignment(matrix)
        moved = [i for i, j in enumerate(to) if i != j and self._renamed(matrix, i, j)]
        total = sum(map(sum, matrix))
        hit = sum(row[i] for i, row in enumerate(matrix))
        mapped = sum(matrix[i][to[i]] if i in moved else matrix[i][i] for i in range(len(matrix)))
        ends = gap(history)
        if len(moved) < 2 or (ends and ends[0].rate < mapped / total - self.train):
            return None
        if mapped - hit < self.gain * total and not all(self._known(history, matrix, i) for i in moved):
            return None
        now, then = Count(k=hit, n=total), Count(k=mapped, n=total)
        names = listed([f"{history.class_name(i)} is answered with {history.class_name(to[i])}" for i in moved], 3)
        text = f"validation {of(now)}, and {of(then)} if classes are renamed ({names})"
        return self._found(
            confidence=0.97,
            claim="established",
            title=f"Validation labels are mapped differently: {percent(now.rate)} becomes {percent(then.rate)} after renaming",
            summary=f"The label map of validation differs from that of training: {text}.",
            evidence=(Evidence(signal="val/matrix", text=text, observed=now.rate, expected=then.rate),),
            actions=(
                "compare class_to_idx of both data sets",
                "build one label map, from a sorted list of all classes, and use it in both",
            ),
        )

    def _unrelated(self, history: RunHistory) -> Finding | None:
        """New training samples are answered well and validation samples are not: their labels say nothing about them."""
        first, best = first_sight(history), best_count(history, "val")
        if first is None or best is None or learned(history, "val") is not False or looks_different(history):
            return None
        if could_be_good(history, "val", train_rate(history)):
            return None
        epoch, count, p_value = first
        behind = best[1].rate < count.rate and statistics.fisher(count, best[1]) < ALPHA
        if p_value >= ALPHA or not behind or learned(history, "probe") is False:
            return None
        text = (
            f"training samples seen for the first time were answered {of(count)}, validation never above {of(best[1])}"
        )
        return self._found(
            confidence=0.7,
            claim="likely",
            title="Validation labels are wrong, or validation is another population",
            summary=f"The model does new samples of the training set and none of validation: {text}, no better than chance ({chance(history)}). "
            "Either its labels do not belong to its inputs, or it holds what training does not (other people, sites, times).",
            evidence=(
                Evidence(
                    signal="train/acc",
                    text=text,
                    epoch=epoch,
                    observed=count.rate,
                    expected=best[1].rate,
                    p_value=p_value,
                ),
            ),
            against=(
                Evidence(
                    signal="data.val",
                    text="a split by people, sites or times looks the same when the model learns to know these instead of the task "
                    "(LD202): new samples of a known person are easy",
                ),
                Evidence(
                    signal="data.train.distinct",
                    text="not excluded: near copies within the training set, which make first looks easy",
                ),
            ),
            actions=(
                "check how inputs and labels of validation are joined: file order, sorting, shuffling one without the other",
                "look how the splits were made; if by person, site or time: more of them, or inputs that do not tell them apart",
                "hold out part of the training set, and validate on that in the meantime",
            ),
        )

    def _found(self, **of_kind: Any) -> Finding:
        return self.finding(
            severity="error",
            why="The model is right and counted as wrong; its confidence makes the loss huge.",
            next_test="print 20 validation samples with the name of their label and of the prediction",
            scope="data",
            explains=(*VALIDATION_BEHIND, "LD202", "LD208", "LD303", "LD607"),
            outweighs=("LD602", "LD601"),
            **of_kind,
        )


def _assignment(matrix: tuple[tuple[int, ...], ...]) -> list[int]:
    """The one-to-one renaming of classes that makes most predictions right (Kuhn 1955)."""
    from scipy.optimize import linear_sum_assignment

    return [int(j) for j in linear_sum_assignment([list(row) for row in matrix], maximize=True)[1]]


MATRIX_CLASSES = 64
"""Up to so many classes a record carries the confusion matrix."""


def _no_matrix(history: RunHistory) -> str:
    """Why there is none: too many classes, or, where they are few, answers that do not say how many there are."""
    read = any(facts.stage == "val" and facts.source for facts in history.context.capture)
    few = (classes(history) or MATRIX_CLASSES + 1) <= MATRIX_CLASSES
    if read and few:
        return "no confusion matrix was recorded (labels without scores were read: the number of classes is not known from them)"
    return f"no confusion matrix was recorded (they are kept up to {MATRIX_CLASSES} classes)"
