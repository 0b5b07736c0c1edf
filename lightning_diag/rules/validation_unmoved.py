"""LD707: what training changes does not reach validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.consequences import NOTHING_MEASURED, VALIDATION_BEHIND
from lightning_diag.rules.reading import after, relative_fall, seen
from lightning_diag.words import number, percent

ROUNDING = 1e-6
"""Relative difference of two sums of the same numbers in another order, in single precision."""
MOVED = 0.01
"""Updates over the weights, since the first evaluation, that no validation loss stays the same through: healthy epochs make
between 1 and 40 %."""


@dataclass(frozen=True, kw_only=True)
class ValidationUnmoved(Rule):
    """Validation gives the same loss in every evaluation although training moves the weights and its own loss."""

    code: ClassVar[str] = "LD707"
    name: ClassVar[str] = "validation-unmoved"
    needs: ClassVar[tuple[str, ...]] = ("val/loss", "train/loss", "update/ratio")
    min_epochs: ClassVar[int] = 3

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        loss, train = history.series("val/loss").finite, history.series("train/loss").finite
        if len(loss) < self.min_epochs or len(train) < self.min_epochs or loss.values[0] == 0:
            return None
        if max(loss.values) - min(loss.values) > ROUNDING * abs(loss.values[0]):
            return None
        moved = sum(after(history.series("update/ratio").finite, loss.epochs[0] + 1).values)
        if moved < MOVED or abs(relative_fall(train)) < MOVED:
            return None  # nothing was trained, or nothing reaches the outputs of training either
        text = f"validation loss {number(loss.values[0])} in each of {len(loss)} evaluations, to the sixth digit"
        beside = f"since the first of them the updates of training add up to {percent(moved)} of the weights"
        return self.finding(
            severity="error",
            confidence=0.95,
            claim="established",
            title="Validation does not see what training changes",
            summary=f"Validation does not see what training changes: {text}; {beside}.",
            evidence=(
                Evidence(signal="val/loss", text=text, epoch=loss.epochs[-1], observed=loss.values[-1]),
                Evidence(signal="update/ratio", text=beside, observed=moved, expected=0.0),
                seen(history, "train/loss", "training loss"),
            ),
            against=(
                Evidence(
                    signal="data.val",
                    text="not excluded: validation inputs that are all 0, in a network without biases",
                ),
            ),
            why="Validation judges other weights than those that are trained, or answers that were kept: none of its numbers "
            "is about this model.",
            actions=(
                "look in validation_step for a copy of the model (moving average, teacher, deepcopy, exported model), and call the one that is trained",
                "where a moving average is meant, update it after each step from the weights in training",
                "keep no outputs or features of the model from one evaluation to the next",
            ),
            next_test="one validation batch through the trained module before and after an epoch: its loss must change",
            scope="val",
            explains=(*VALIDATION_BEHIND, *NOTHING_MEASURED, "LD110", "LD301", "LD604", "LD606", "LD607", "LD608"),
        )
