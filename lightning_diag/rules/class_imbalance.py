"""LD303: rare classes are recognised worse, established."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag import statistics
from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import ClassRow, Count, RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.class_mix import balancing
from lightning_diag.rules.consequences import VALIDATION_BEHIND
from lightning_diag.rules.independence import claim, independent, positions
from lightning_diag.rules.reading import ALPHA, last_rows
from lightning_diag.words import number, of, p


@dataclass(frozen=True, kw_only=True)
class ClassImbalance(Rule):
    """Classes are of very unequal size in training, and the rare ones are recognised worse."""

    code: ClassVar[str] = "LD303"
    name: ClassVar[str] = "class-imbalance"
    needs: ClassVar[tuple[str, ...]] = ("classes:val", "data.train.class_counts")
    tasks: ClassVar[tuple[str, ...]] = ("multiclass", "binary", "dense")

    ratio: float = 5.0
    """Largest over smallest class. Measured on digits, 1:3 cost 1 to 3 points of accuracy, 1:8 cost 11, 1:20 cost 34."""
    alpha: float = ALPHA
    """Level of Fisher's exact test between the pooled rare and the pooled other classes."""
    drop: float = 0.1
    """Difference in recall that matters, besides being established."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        sizes = [c for c in history.context.data.train.class_counts if c]
        if len(sizes) < 2 or max(sizes) < self.ratio * min(sizes):
            return None
        rare, frequent = _pooled(history, max(sizes) / self.ratio)
        if not rare.n or not frequent.n:
            raise CannotTellError("the rare or the frequent classes have no validation samples")
        p_value = statistics.fisher(rare, frequent) if independent(history) else None
        harm = (p_value is None or p_value < self.alpha) and frequent.rate - rare.rate > self.drop
        ratio = f"({number(max(sizes) / min(sizes))} : 1)"
        known = f"classes have {min(sizes):,} to {max(sizes):,} training {_unit(history)} {ratio}"
        text = f"recall of the rare classes {of(rare)}, of the others {of(frequent)}{f' ({p(p_value)})' if p_value is not None else ''}"
        return self.finding(
            severity="error" if harm else "info",
            confidence=0.8 if not harm else 0.95 if p_value is not None else 0.85,
            claim=claim(history) if harm else "established",
            title=f"Class imbalance {number(max(sizes) / min(sizes))} : 1"
            + (": rare classes are lost" if harm else ", without harm so far"),
            summary=f"Rare classes are recognised worse: {known}; {text}."
            if harm
            else f"Training classes are unequal: {known}; {text}.",
            evidence=(
                Evidence(
                    signal="data.train.class_counts", text=known, observed=max(sizes) / min(sizes), expected=self.ratio
                ),
                Evidence(signal="val/classes", text=text, observed=rare.rate, expected=frequent.rate, p_value=p_value),
            ),
            against=positions(history),
            why="Accuracy weighs classes by their size and hides what happens to the rare ones.",
            actions=(
                "judge by balanced accuracy (val/balanced_acc)",
                balancing(history),
                "more samples of the rare classes",
            ),
            next_test="train with class weights 1 / count: recall of the rare classes rises if imbalance is the reason",
            scope="class",
            explains=(*VALIDATION_BEHIND, "LD301") if harm else (),
            outweighs=("LD602",) if harm else (),
        )

    def clear_text(self, history: RunHistory) -> str:
        """How unequal the classes are."""
        sizes = [c for c in history.context.data.train.class_counts if c]
        if not sizes:
            return ""
        if min(sizes) == max(sizes):
            return f"{min(sizes):,} {_unit(history)} in each class"
        return f"{min(sizes):,} to {max(sizes):,} {_unit(history)} per class, {number(round(max(sizes) / min(sizes), 1))} : 1"


def _unit(history: RunHistory) -> str:
    """What the classes of training are counted in."""
    return "samples" if independent(history) else "positions"


def _pooled(history: RunHistory, limit: float) -> tuple[Count, Count]:
    """Recall of all classes of at most ``limit`` training samples, and of the others."""
    sizes = history.context.data.train.class_counts
    rows = last_rows(history, "val")
    known = [(row, sizes[row.index]) for row in rows if row.index < len(sizes) and sizes[row.index]]
    small = [row for row, size in known if size <= limit]
    large = [row for row, size in known if size > limit]
    return _sum(small), _sum(large)


def _sum(rows: list[ClassRow]) -> Count:
    return Count(k=sum(row.correct for row in rows), n=sum(row.support for row in rows))
