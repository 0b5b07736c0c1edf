"""LD603: validation samples that are also in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag import statistics
from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import Count, RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.reading import ALPHA
from lightning_diag.rules.splits import compared
from lightning_diag.rules.validation_is_training import FEW_VALUES, ValidationIsTraining, as_often_as_training
from lightning_diag.words import of, p, percent


@dataclass(frozen=True, kw_only=True)
class Leakage(Rule):
    """Validation samples occur identically in the training set."""

    code: ClassVar[str] = "LD603"
    name: ClassVar[str] = "leakage"
    needs: ClassVar[tuple[str, ...]] = ("data.overlap",)

    tolerated: float = 0.01
    """Share of copies beyond the natural rate that changes no conclusion (1 point of accuracy at most)."""
    alpha: float = ALPHA
    """Level of the exact binomial test against that share."""
    serious: float = 0.1
    """Share from which it is an error: accuracy may be 10 points too high."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        data = history.context.data
        assert data.overlap is not None  # the engine checked ``needs``
        if data.overlap.n == 0:
            raise CannotTellError("no validation sample was fingerprinted")
        if data.overlap.n >= ValidationIsTraining.samples and data.overlap.rate >= ValidationIsTraining.share:
            raise CannotTellError("nearly every validation sample is a training sample, which LD605 judges")
        natural = max(data.train.copies or 0.0, data.overlap_expected or 0.0)
        near = data.near_overlap or Count(k=0, n=0)
        for seen, kind in ((data.overlap, "are also training samples"), (near, "are near copies of training samples")):
            p_value = statistics.binomial(seen, min(1.0, natural + self.tolerated), "greater")
            if seen.n and p_value < self.alpha:
                if data.low_cardinality:
                    raise CannotTellError(FEW_VALUES)
                recurs = as_often_as_training(data, self.tolerated, self.alpha)
                part = compared(history.context)
                return (
                    self._recurs(seen, data.train.repeats)
                    if recurs
                    else self._found(seen, kind, natural, p_value, part)
                )
        return None

    def _found(self, overlap: Count, kind: str, natural: float, p_value: float, part: str) -> Finding:
        text = f"{of(overlap)} of the validation samples {kind}"
        usual = f"copies within these data alone would make it {percent(natural)}"
        return self.finding(
            severity="error" if overlap.rate >= self.serious else "warning",
            confidence=0.97 if kind.startswith("are also") else 0.85,
            claim="established",
            title=f"{percent(overlap.rate)} of validation is also in training",
            summary=f"The validation set leaks: {text} ({p(p_value)}).",
            evidence=(
                Evidence(signal="data.overlap", text=text, observed=overlap.rate, expected=natural, p_value=p_value),
                Evidence(signal="data.train.distinct", text=usual, observed=natural),
                *((Evidence(signal="data.train.hashed", text=f"{part[:1].lower()}{part[1:]}"),) if part else ()),
            ),
            why="Validation accuracy partly measures memory; it will not hold on new samples.",
            actions=(
                "drop duplicates before splitting, also those within validation",
                "split by source (person, document, recording), not by row",
                "measure again; earlier numbers do not compare",
            ),
            next_test="validation accuracy without the copies: the difference is what leaked",
            scope="data",
            explains=("LD207",),
            outweighs=("LD602",),
        )

    def _recurs(self, overlap: Count, repeats: Count | None) -> Finding:
        """Short token sequences: in training as often as training repeats itself, copied or not."""
        often = of(repeats) if repeats else ""
        text = f"{of(overlap)} of the validation samples are also training samples, and {often} of the training samples occur there more than once"
        return self.finding(
            severity="info",
            confidence=0.6,
            claim="not established",
            title=f"{percent(overlap.rate)} of validation is also in training, as often as training repeats itself",
            summary=f"Validation repeats samples of training, as training does: {text}.",
            evidence=(
                Evidence(
                    signal="data.overlap",
                    text=text,
                    observed=overlap.rate,
                    expected=repeats.rate if repeats else None,
                ),
            ),
            why="Sequences that recur in use may recur in validation; copies that were made before the split flatter it.",
            actions=(
                "look at ten of them: short phrases recur, long texts are copies, to be dropped before splitting",
            ),
            next_test="validation accuracy without the samples that are also in training",
            scope="data",
        )
