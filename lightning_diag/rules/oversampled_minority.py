"""LD307: a few samples of rare classes are shown again and again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.consequences import VALIDATION_BEHIND
from lightning_diag.rules.gaps import established
from lightning_diag.words import number, of, percent


@dataclass(frozen=True, kw_only=True)
class OversampledMinority(Rule):
    """Rare classes are filled up with repetitions of a few samples, which are memorised."""

    code: ClassVar[str] = "LD307"
    name: ClassVar[str] = "oversampled-minority"
    needs: ClassVar[tuple[str, ...]] = ("data.train.class_counts",)

    times: float = 5.0
    """Draws per sample and epoch from which a class lives on repetitions; the others are drawn once."""
    copies: float = 0.2
    """Share of exact copies in the training set. Real data sets hold a few per cent at most."""
    gap: float = 0.05
    """Lower end of the interval of the gap to validation from which they were memorised."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        repeated = self._sampler(history) or self._copies(history)
        if repeated is None:
            return None
        text, observed = repeated
        harm = established(history, self.gap)
        return self.finding(
            severity="warning" if harm else "info",
            confidence=0.85 if harm else 0.6,
            claim="likely" if harm else "established",
            title="Rare classes are repetitions of a few samples",
            summary=f"Oversampling repeats few samples: {text}"
            + (f"; training {of(harm[0])}, validation {of(harm[1])}." if harm else "."),
            evidence=(Evidence(signal="data.train.drawn_counts", text=text, observed=observed, expected=1.0),),
            why="Copies add no information; the model memorises them and is sure of itself on the rare classes.",
            actions=(
                "class weights instead of copies",
                "augment the rare classes, so that no two copies are equal",
                "collect more of them",
            ),
            next_test="recall of the rare classes on training and on validation samples: far apart means memorised",
            scope="data",
            explains=(*VALIDATION_BEHIND, "LD303", "LD603") if harm else (),
            outweighs=("LD602",) if harm else (),
        )

    def _sampler(self, history: RunHistory) -> tuple[str, float] | None:
        split = history.context.data.train
        pairs = [(d, c) for d, c in zip(split.drawn_counts, split.class_counts, strict=False) if c]
        if not pairs:
            return None
        drawn, held = max(pairs, key=lambda pair: pair[0] / pair[1])
        return (
            (f"one class is drawn {number(drawn)} times per epoch from {number(held)} samples", drawn / held)
            if drawn >= self.times * held
            else None
        )

    def _copies(self, history: RunHistory) -> tuple[str, float] | None:
        share = history.context.data.train.copies
        if share is None or share <= self.copies or history.context.data.low_cardinality:
            return None
        return f"{percent(share)} of the training samples are exact copies of others", share
