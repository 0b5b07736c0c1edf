"""LD203: training accuracy lies above validation accuracy, established."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.gaps import gap, gap_interval
from lightning_diag.rules.independence import claim, independent, positions
from lightning_diag.words import of, points


@dataclass(frozen=True, kw_only=True)
class GeneralisationGap(Rule):
    """Training accuracy lies well above validation accuracy at the end, and the counts establish it."""

    code: ClassVar[str] = "LD203"
    name: ClassVar[str] = "generalisation-gap"
    needs: ClassVar[tuple[str, ...]] = ("stage:val", "stage:train|stage:probe|probe/train_acc")
    tasks: ClassVar[tuple[str, ...]] = ("multiclass", "binary", "dense")

    gap: float = 0.10
    """Lower end of the 95 % interval of the gap from which something should be done: a model is then wrong on one more
    sample in ten than its training suggests."""
    notable: float = 0.05
    """Lower end from which the gap is worth knowing (``info``)."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        ends = gap(history)
        interval = gap_interval(history)
        if ends is None or interval is None:
            raise CannotTellError("accuracy was not counted in both stages")
        train, val = ends
        size = train.rate - val.rate
        if interval.low <= self.notable:
            return None
        wide = f" ({100 * interval.low:.0f}–{100 * interval.high:.0f})" if independent(history) else ""
        text = f"training is {points(size)}{wide} ahead of validation: training {of(train)}, validation {of(val)}"
        return self.finding(
            severity="warning" if interval.low > self.gap else "info",
            confidence=0.95 if independent(history) else 0.85,
            claim=claim(history),
            title=f"Gap of {points(size)} between training and validation",
            summary=f"{text[0].upper()}{text[1:]}.",
            evidence=(Evidence(signal="val/acc", text=text, observed=val.rate, expected=train.rate),),
            against=(
                *positions(history),
                Evidence(
                    signal="data.shift",
                    text="the gap alone does not tell memorising from a validation set that is harder or different",
                ),
            ),
            why="Training accuracy says little about new samples.",
            actions=(
                "more training data or augmentation",
                "regularise or shrink the model",
                "compare how the splits were made",
            ),
            next_test="hold out part of the training data as a second validation loader: a small gap there means that the "
            "splits differ, a large one that the model memorises",
            outweighs=("LD602",),
        )
