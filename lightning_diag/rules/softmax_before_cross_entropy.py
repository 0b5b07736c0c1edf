"""LD703: cross entropy gets probabilities instead of logits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.consequences import NOTHING_LEARNED
from lightning_diag.rules.reading import classes, last_rows
from lightning_diag.words import number


@dataclass(frozen=True, kw_only=True)
class SoftmaxBeforeCrossEntropy(Rule):
    """The values given to the cross entropy are already probabilities."""

    code: ClassVar[str] = "LD703"
    name: ClassVar[str] = "softmax-before-cross-entropy"
    needs: ClassVar[tuple[str, ...]] = ("model.outputs_are_probabilities",)

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        model = history.context.model
        if not model.outputs_are_probabilities or (
            (model.loss_name or "cross_entropy").startswith(("nll", "binary_cross_entropy", "bce"))
            and "logits" not in (model.loss_name or "")
        ):
            return None
        sigmoid = (model.loss_name or "").startswith(("binary_cross_entropy", "bce"))
        if sigmoid and _denies(history):
            return None
        squash = "sigmoid" if sigmoid else "softmax"
        floor, of_what = _floor(history, sigmoid=sigmoid)
        text = f"the outputs lie in [0, 1] before the {squash} inside the loss: probabilities, not logits"
        evidence = [Evidence(signal="model.outputs_are_probabilities", text=text, observed=1.0, expected=0.0)]
        loss = history.series("train/loss").finite.best("min")
        if loss:
            low = f"training loss {number(loss[1])} at best; with a second {squash} it cannot pass below {number(floor)}{of_what}"
            evidence.append(Evidence(signal="train/loss", text=low, epoch=loss[0], observed=loss[1], expected=floor))
        return self.finding(
            severity="error",
            confidence=0.98,
            claim="established",
            title=f"{squash.capitalize()} is applied twice",
            summary=f"The loss applies {squash} to probabilities: {text}.",
            evidence=tuple(evidence),
            why=f"The loss cannot fall below {number(floor)} and gradients become small when the model is sure: slow, weak training.",
            actions=(
                f"return logits from forward, without {squash}",
                f"apply {squash} only where probabilities are shown",
            ),
            next_test=f"remove the {squash} and train for two epochs: the loss passes below the floor",
            scope="train",
            explains=(*NOTHING_LEARNED, "LD103", "LD107", "LD303", "LD606"),
        )


def _floor(history: RunHistory, *, sigmoid: bool) -> tuple[float, str]:
    """What the loss cannot pass below when its input lies in [0, 1], and for what."""
    if sigmoid:  # an output of 0 is read as one half: -ln(1 / 2) for every negative answer
        return math.log(2), " for negative answers"
    number_of_classes = classes(history) or 2
    return math.log1p((number_of_classes - 1) / math.e), f" for {number_of_classes} classes"


def _denies(history: RunHistory) -> bool:
    """Whether a binary model ever answers no at the end: the output of a sigmoid, read as a logit, never does."""
    rows = last_rows(history, "val")
    return history.context.task == "binary" and any(row.index == 0 and row.predicted for row in rows)
