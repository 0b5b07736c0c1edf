"""LD703: cross entropy gets probabilities instead of logits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.reading import classes
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
        number_of_classes = classes(history) or 2
        floor = math.log1p((number_of_classes - 1) / math.e)
        text = "the outputs lie in [0, 1] and sum to 1 before the softmax inside the loss"
        evidence = [Evidence(signal="model.outputs_are_probabilities", text=text, observed=1.0, expected=0.0)]
        loss = history.series("train/loss").finite.best("min")
        if loss:
            low = f"training loss {number(loss[1])} at best; with a second softmax it cannot pass below {number(floor)} for {number_of_classes} classes"
            evidence.append(Evidence(signal="train/loss", text=low, epoch=loss[0], observed=loss[1], expected=floor))
        return self.finding(
            severity="error",
            confidence=0.98,
            claim="established",
            title="Softmax is applied twice",
            summary=f"The loss applies softmax to probabilities: {text}.",
            evidence=tuple(evidence),
            why=f"The loss cannot fall below {number(floor)} and gradients become small when the model is sure: slow, weak training.",
            actions=("return logits from forward, without softmax", "apply softmax only where probabilities are shown"),
            next_test="remove the softmax and train for two epochs: the loss passes below the floor",
            scope="train",
            explains=(
                "LD103",
                "LD107",
                "LD115",
                "LD204",
                "LD202",
                "LD205",
                "LD606",
                "LD302",
                "LD301",
                "LD303",
                "LD208",
            ),
        )
