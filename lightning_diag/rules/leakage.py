"""LD603: validation samples that are also in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag import statistics
from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.reading import ALPHA
from lightning_diag.words import of, p, percent


@dataclass(frozen=True, kw_only=True)
class Leakage(Rule):
    """Validation samples occur identically in the training set."""

    code: ClassVar[str] = "LD603"
    name: ClassVar[str] = "leakage"
    needs: ClassVar[tuple[str, ...]] = ("data.overlap",)

    tolerated: float = 0.01
    """Share of identical samples beyond the natural rate of copies that changes no conclusion (1 point of accuracy at most)."""
    alpha: float = ALPHA
    """Level of the exact binomial test against that share."""
    serious: float = 0.1
    """Share from which it is an error: accuracy may be 10 points too high."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        data, overlap = history.context.data, history.context.data.overlap
        assert overlap is not None  # the engine checked ``needs``
        if data.low_cardinality or overlap.n == 0 or overlap.rate >= 0.95:
            return None
        train = data.train
        natural = 1 - train.distinct / train.hashed if train.hashed and train.distinct is not None else 0.0
        p_value = statistics.binomial(overlap, min(1.0, natural + self.tolerated), "greater")
        if p_value >= self.alpha:
            return None
        text = f"{of(overlap)} of the validation samples are also training samples"
        usual = f"{percent(natural)} of the training samples have a copy among themselves"
        return self.finding(
            severity="error" if overlap.rate >= self.serious else "warning",
            confidence=0.97,
            claim="established",
            title=f"{percent(overlap.rate)} of validation is also in training",
            summary=f"The validation set leaks: {text} ({p(p_value)}).",
            evidence=(
                Evidence(signal="data.overlap", text=text, observed=overlap.rate, expected=natural, p_value=p_value),
                Evidence(signal="data.train.distinct", text=usual, observed=natural),
            ),
            why="Validation accuracy partly measures memory; it will not hold on new samples.",
            actions=(
                "drop duplicates before splitting",
                "split by source (person, document, recording), not by row",
                "measure again; earlier numbers do not compare",
            ),
            next_test="validation accuracy without the copies: the difference is what leaked",
            scope="data",
            explains=("LD602", "LD207"),
        )
