"""LD115: training is no better than an answer that ignores the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.reading import final_count, relative_fall, stuck, trivial_loss, trivial_rate
from lightning_diag.words import number, of, percent


@dataclass(frozen=True, kw_only=True)
class NotLearning(Rule):
    """Training never got better than an answer that ignores the input."""

    code: ClassVar[str] = "LD115"
    name: ClassVar[str] = "not-learning"
    needs: ClassVar[tuple[str, ...]] = ("train/loss|stage:train|stage:probe|probe/train_acc",)
    min_epochs: ClassVar[int] = 2

    fall: float = 0.5
    """Relative fall of the training loss that shows learning which the other signals missed."""

    moving: float = 0.03
    """CTC: relative fall of the training loss in the last epoch that is no standstill yet."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        got_nowhere = stuck(history)
        if got_nowhere is None:
            raise CannotTellError("neither accuracy nor the number of classes is known to compare with chance")
        loss = history.series("train/loss").finite
        if not got_nowhere or (len(loss) > 1 and relative_fall(loss) > self.fall):
            return None
        count, rate = final_count(history, "probe") or final_count(history, "train"), trivial_rate(history, "train")
        lines = history.context.task == "ctc"  # whole lines have no most frequent class, and no loss of one
        if lines and len(loss) > 1 and loss.values[-1] < (1 - self.moving) * loss.values[-2]:
            return None
        trivial, tested = None if lines else trivial_loss(history), lines or bool(count and rate)
        evidence = []
        if count and rate and not lines:
            text = f"training accuracy {of(count)}; always naming the most frequent class gives {percent(rate)}"
            evidence.append(Evidence(signal="train/acc", text=text, observed=count.rate, expected=rate))
        if len(loss):
            against_trivial = f" against {number(trivial)} for an answer that ignores the input" if trivial else ""
            evidence.append(
                Evidence(
                    signal="train/loss",
                    text=f"training loss {number(loss.values[0])} → {number(loss.values[-1])}{against_trivial}",
                    epoch=loss.epochs[-1],
                    observed=loss.values[-1],
                    expected=trivial,
                )
            )
        if not evidence:
            raise CannotTellError("training loss and accuracy are not finite")
        return self.finding(
            severity="error",
            confidence=0.9 if tested else 0.8,
            claim="established" if tested else "likely",
            title="Nothing is learned",
            summary=f"The model does not learn: {evidence[0].text}.",
            evidence=tuple(evidence),
            against=(
                *(() if tested else (Evidence(signal="train/loss", text=ADDED),)),
                Evidence(
                    signal="train/loss",
                    text="this is a symptom; nothing recorded names its cause, see what could not be checked",
                ),
            ),
            why="All other numbers of this run describe an untrained model.",
            actions=(
                "try to memorise 20 samples: a sound model and loss reach a loss of 0",
                "learning rates 10 times higher and lower",
                "check that the labels belong to the inputs",
            ),
            next_test="train on one batch for 200 steps: if its loss does not go to 0, the model, the loss or the optimiser is at fault, else the data",
            explains=("LD202", "LD208", "LD204", "LD302"),
        )


ADDED = "not excluded: a loss that nothing can bring below that of an answer that ignores the input (weights, label smoothing, auxiliary terms)"
"""The trivial loss is that of a plain cross entropy."""
