"""LD704: the loss normalises over another axis than the classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.consequences import NOTHING_LEARNED


@dataclass(frozen=True, kw_only=True)
class LossOverWrongAxis(Rule):
    """The loss is normalised over the batch, time or position axis instead of the classes."""

    code: ClassVar[str] = "LD704"
    name: ClassVar[str] = "loss-over-wrong-axis"
    needs: ClassVar[tuple[str, ...]] = ("model.class_axis_ok",)
    tasks: ClassVar[tuple[str, ...]] = ("multiclass", "binary", "dense", "multilabel")

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        model = history.context.model
        if model.class_axis_ok is not False:
            return None
        text = f"the values given to {model.loss_name or 'the loss'} do not sum to 1 over the classes but over another axis"
        return self.finding(
            severity="error",
            confidence=0.97,
            claim="established",
            title="The loss is normalised over the wrong axis",
            summary=f"Softmax runs over the wrong axis: {text}.",
            evidence=(Evidence(signal="model.class_axis_ok", text=text, observed=0.0, expected=1.0),),
            why="The samples of a batch compete with each other; what the model learns depends on who shares its batch.",
            actions=(
                "log_softmax(x, dim=1) for (batch, classes, ...), dim=-1 for (batch, ..., classes)",
                "F.cross_entropy(logits, target), which needs no softmax before it",
            ),
            next_test="the exponentials of one sample's log-probabilities must sum to 1",
            scope="train",
            explains=(*NOTHING_LEARNED, "LD102", "LD103", "LD203", "LD303", "LD606", "LD706"),
        )
