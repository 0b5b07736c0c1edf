"""LD605: the validation loader shows the training set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag import statistics
from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import DataFacts, RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.reading import ALPHA
from lightning_diag.words import of


@dataclass(frozen=True, kw_only=True)
class ValidationIsTraining(Rule):
    """The validation set is the training set."""

    code: ClassVar[str] = "LD605"
    name: ClassVar[str] = "validation-is-training"
    needs: ClassVar[tuple[str, ...]] = ("data.overlap",)

    share: float = 0.95
    """Share of validation samples found in training; a few may differ by augmentation."""
    samples: int = 5
    """Fingerprinted validation samples below which it may be chance."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        overlap = history.context.data.overlap
        assert overlap is not None  # the engine checked ``needs``
        if overlap.n < self.samples:
            raise CannotTellError(
                f"{overlap.n} validation samples were fingerprinted, at least {self.samples} are needed"
            )
        if overlap.rate < self.share:
            return None
        if history.context.data.low_cardinality:
            raise CannotTellError(FEW_VALUES)
        if as_often_as_training(history.context.data):
            raise CannotTellError("training repeats nearly every sample too, so that new ones would be in it as well")
        text = f"{of(overlap)} of the validation samples are also training samples"
        return self.finding(
            severity="error",
            confidence=0.99,
            claim="established",
            title="The validation set is the training set",
            summary=f"Validation measures nothing new: {text}.",
            evidence=(Evidence(signal="data.overlap", text=text, observed=overlap.rate, expected=0.0),),
            why="Overfitting cannot be seen, and the best epoch is the one that memorised most.",
            actions=(
                "point val_dataloader at the held-out split",
                "check that both loaders do not share one data set or one folder",
            ),
            next_test="print the paths (or indices) of the first 10 samples of both loaders",
            scope="data",
            explains=("LD603", "LD207"),
            outweighs=("LD602", "LD601"),
            excludes=("LD603",),
        )


FEW_VALUES = "the inputs have few distinct values, so that equal samples of the two splits may be chance"


def as_often_as_training(data: DataFacts, tolerated: float = 0.0, alpha: float = ALPHA) -> bool:
    """Whether validation is in training no more often than a further sample of its source would be."""
    overlap, repeats = data.overlap, data.train.repeats
    if overlap is None or repeats is None:
        return False
    return overlap.rate <= repeats.rate + tolerated or statistics.fisher(overlap, repeats) >= alpha
