"""LD116: the step returns the loss with the wrong sign."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.reading import loss_scale
from lightning_diag.words import number


@dataclass(frozen=True, kw_only=True)
class LossSign(Rule):
    """What the step returned was negative from the start, and the loss that it computed rose."""

    code: ClassVar[str] = "LD116"
    name: ClassVar[str] = "loss-sign"
    needs: ClassVar[tuple[str, ...]] = ("loss/first", "train/loss")
    # whose losses cannot be negative (CTC of raw scores can be, see LD404)
    tasks: ClassVar[tuple[str, ...]] = ("multiclass", "binary", "multilabel", "dense")

    rise: float = 1.2
    """Training loss of the last epoch over that of the untrained model. A run that learns anything ends below it; a term that is
    subtracted on purpose (an entropy bonus) leaves the loss itself falling."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        first, losses = history.series("loss/first").finite, history.series("train/loss").finite
        if not len(first):
            raise CannotTellError("the loss of the first step is not finite")
        if first.values[0] >= 0:
            return None
        if history.context.task is None:
            raise CannotTellError("the first step returned a negative loss, and what kind of loss it is is not known")
        if len(losses) < 2 or losses.values[0] <= 0:
            raise CannotTellError(
                "the first step returned a negative loss, and no course of a positive one was recorded"
            )
        returned, start, end = first.values[0], losses.values[0], losses.values[-1]
        if end < self.rise * max(start, loss_scale(history) or 0.0):
            return None
        text = f"the first step returned {number(returned)}"
        rose = (
            f"the loss that the step computed rose from {number(start)} in the first epoch to {number(end)} in the last"
        )
        return self.finding(
            severity="error",
            confidence=0.9,
            claim="likely",
            title="Training maximises the loss: it is returned with the wrong sign",
            summary=f"The loss is returned with the wrong sign: {text}, and {rose}.",
            evidence=(
                Evidence(signal="loss/first", text=text, observed=returned, expected=-returned),
                Evidence(signal="train/loss", text=rose, observed=end, expected=start),
            ),
            against=(
                Evidence(
                    signal="code",
                    text="not excluded: a term that is subtracted on purpose and outgrows the loss itself",
                ),
            ),
            why="A loss of this kind is never below 0. The optimiser goes downhill on what the step returns, so that it drives the loss itself up.",
            actions=(
                "return the loss as the loss function gives it, without a minus in front",
                "where a term is meant to be subtracted, bound it, or lower its weight until the sum stays above 0",
            ),
            next_test="ten steps with the sign changed: the loss must fall below that of the untrained model",
            explains=(
                "LD101",
                "LD102",
                "LD106",
                "LD107",
                "LD113",
                "LD115",
                "LD202",
                "LD204",
                "LD207",
                "LD301",
                "LD302",
                "LD602",
            ),
        )
