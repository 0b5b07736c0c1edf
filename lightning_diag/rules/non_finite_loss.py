"""LD101: the loss became NaN or infinite."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.words import number


@dataclass(frozen=True, kw_only=True)
class NonFiniteLoss(Rule):
    """A training or validation loss is NaN or infinite."""

    code: ClassVar[str] = "LD101"
    name: ClassVar[str] = "non-finite-loss"
    needs: ClassVar[tuple[str, ...]] = ("train/loss|val/loss|loss/nonfinite_steps",)

    steps: int = 0
    """Steps with a non-finite loss that are tolerated while the epoch means stay finite."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        first = next(
            (
                (name, e, v)
                for name in ("train/loss", "val/loss")
                for e, v in history.series(name)
                if not math.isfinite(v)
            ),
            None,
        )
        steps = history.series("loss/nonfinite_steps").finite
        broken = sum(steps.values)
        if first is None and broken <= self.steps:
            return None
        epoch = first[1] if first else next(e for e, v in steps if v)
        text = (
            f"{LABELS[first[0]]} is {number(first[2])} in epoch {epoch}"
            if first
            else f"{number(broken)} training steps had a non-finite loss, first in epoch {epoch}"
        )
        evidence = [
            Evidence(
                signal=first[0] if first else "loss/nonfinite_steps",
                text=text,
                epoch=epoch,
                observed=float(epoch if first else broken),
            )
        ]
        before = [v for e, v in history.series("grad/norm_max").finite if e <= epoch]
        if before:
            evidence.append(
                Evidence(
                    signal="grad/norm_max",
                    text=f"largest gradient norm until then {number(max(before))}",
                    epoch=epoch,
                    observed=max(before),
                )
            )
        lr = history.context.optim.lr
        against = (
            Evidence(
                signal="data.train.nonfinite_inputs", text="not excluded: inputs or targets that are NaN or infinite"
            ),
        )
        return self.finding(
            severity="error",
            confidence=1.0,
            claim="established",
            title=f"The loss is not finite from epoch {epoch} on" if first else "Some steps had a non-finite loss",
            summary=f"The run diverged: {text}" + (f" at a learning rate of {number(lr)}" if lr else "") + ".",
            evidence=tuple(evidence),
            against=() if history.context.data.train.nonfinite_inputs is not None else against,
            why="Weights that have met a non-finite gradient are lost; nothing after that epoch means anything.",
            actions=(
                "a learning rate 10 times lower, with warm-up",
                "gradient_clip_val=1.0",
                "check inputs and targets for NaN, and logarithms and divisions in the loss for 0",
            ),
            next_test="run with Trainer(detect_anomaly=True) for one epoch: it names the operation that made the first NaN",
            epoch=epoch,
            explains=(
                "LD102",
                "LD106",
                "LD113",
                "LD115",
                "LD202",
                "LD203",
                "LD204",
                "LD205",
                "LD208",
                "LD301",
                "LD302",
                "LD706",
            ),
        )


LABELS = {"train/loss": "the training loss", "val/loss": "the validation loss"}
"""How the two losses are called in a sentence."""
