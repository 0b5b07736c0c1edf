"""What one stage measured in one epoch, as numbers on the host."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lightning_diag.history import ClassRows, Confusions, Count, GroupRow, Matrix, Paired, StageRecord

MATRIX_CLASSES = 64
"""Up to this many classes a record carries the full confusion matrix (4,096 counts per evaluation)."""
ROW_CLASSES = 2_000
"""Above this many classes a record keeps the rows of the best supported classes among those seen."""
CONFUSIONS = 20
"""Most frequent confusions kept per evaluation."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class StageResult:
    """Counts and sums of one stage in one epoch, over all ranks.

    Attributes:
        task: the task that was counted. classes: number of classes.
        n: samples or positions that count; correct: how many were right (multilabel: all labels of the sample right).
        support, predicted, hits: per class. table: target x predicted, or None above the documented class count.
        out_of_range: targets outside the classes, left out. ignored: targets that the loss ignores.
        nonfinite: positions with NaN or infinite scores, counted as wrong and as no prediction.
        padded: samples repeated by a distributed sampler, left out. samples: samples seen (first axis).
        loss: mean loss weighted by samples; NaN when no step had a finite loss. loss_steps: steps with a loss;
            loss_bad: steps whose loss was not finite.
        confidence, entropy, ece: over the positions with scores; None when there were none.
        label_accuracy: share of single label decisions that were right (multilabel), else None.
        groups: (name, correct, n) per group. paired: comparison with the best evaluation.
    """

    task: str | None
    classes: int
    n: int
    correct: int
    support: Ints
    predicted: Ints
    hits: Ints
    table: Ints | None = None
    out_of_range: int = 0
    ignored: int = 0
    nonfinite: int = 0
    padded: int = 0
    samples: int = 0
    loss: float = math.nan
    loss_steps: int = 0
    loss_bad: int = 0
    confidence: float | None = None
    entropy: float | None = None
    ece: float | None = None
    label_accuracy: float | None = None
    groups: tuple[tuple[str, int, int], ...] = ()
    paired: Paired | None = None

    @property
    def recall(self) -> Floats:
        """Recall per class; NaN without support."""
        return _ratio(self.hits, self.support)

    @property
    def precision(self) -> Floats:
        """Precision per class; NaN without predictions."""
        return _ratio(self.hits, self.predicted)

    @property
    def f1(self) -> Floats:
        """F1 per class; NaN without support and predictions."""
        return _ratio(2 * self.hits, self.support + self.predicted)

    def trimmed(self) -> StageResult:
        """Without the classes behind the last one that was seen (where the number of classes was not known)."""
        seen = np.flatnonzero(self.support + self.predicted)
        last = int(seen[-1]) + 1 if len(seen) else 0
        columns = {name: getattr(self, name)[:last] for name in ("support", "predicted", "hits")}
        table = None if self.table is None else self.table[:last, :last]
        return replace(self, classes=last, table=table, **columns)

    def values(self) -> dict[str, float]:
        """Scalars of the stage without its prefix: only those that were measured."""
        found: dict[str, float] = {}
        if self.loss_steps:
            found["loss"] = self.loss
        if self.n:
            seen = self.support > 0
            found |= {"acc": self.correct / self.n}
            if seen.any():
                found |= {"balanced_acc": float(self.recall[seen].mean()), "macro_f1": float(self.f1[seen].mean())}
        optional = {"confidence": self.confidence, "entropy": self.entropy, "ece": self.ece}
        optional["label_acc"] = self.label_accuracy
        return found | {name: value for name, value in optional.items() if value is not None}

    def to_record(self, *, complete: bool = True) -> tuple[dict[str, float], StageRecord]:
        """Scalars (without stage prefix) and the frozen record of the stage.

        Args:
            complete: False when the evaluation did not cover the whole loader.
        """
        record = StageRecord(
            n=self.n,
            correct=Count(k=self.correct, n=self.n) if self.n else None,
            classes=self._class_rows(),
            confusions=self._confusions(),
            matrix=self._matrix(),
            groups=tuple(GroupRow(group=g, correct=Count(k=k, n=n)) for g, k, n in self.groups if n),
            paired=self.paired,
            complete=complete,
            padded=self.padded,
        )
        return self.values(), record

    def _class_rows(self) -> ClassRows:
        if not self.n:
            return ClassRows()
        kept = np.arange(self.classes)
        if self.classes > ROW_CLASSES:
            seen = self.support + self.predicted
            kept = np.sort(np.argsort(-seen, kind="stable")[:ROW_CLASSES])
            kept = kept[seen[kept] > 0]
        return ClassRows.of_numbers(np.stack((kept, self.support[kept], self.predicted[kept], self.hits[kept]), axis=1))

    def _confusions(self) -> Confusions:
        if self.table is None:
            return Confusions()
        off = self.table.copy()
        np.fill_diagonal(off, 0)
        flat = off.ravel()
        order = np.argsort(-flat, kind="stable")[:CONFUSIONS]
        order = order[flat[order] > 0]
        return Confusions.of_numbers(np.stack((order // self.classes, order % self.classes, flat[order]), axis=1))

    def _matrix(self) -> Matrix:
        if self.table is None or not self.n or self.classes > MATRIX_CLASSES:
            return Matrix()
        return Matrix.of_numbers(self.table)


def _ratio(part: Ints, whole: Ints) -> Floats:
    ratio: Floats = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return ratio
