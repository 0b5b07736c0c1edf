"""LD101: the loss became NaN or infinite, or exploded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.no_targets import no_target_left, without_targets
from lightning_diag.rules.reading import loss_scale, trivial_loss
from lightning_diag.words import number


@dataclass(frozen=True, kw_only=True)
class NonFiniteLoss(Rule):
    """A training or validation loss is NaN or infinite, or beyond all measure."""

    code: ClassVar[str] = "LD101"
    name: ClassVar[str] = "non-finite-loss"
    needs: ClassVar[tuple[str, ...]] = ("train/loss|val/loss|loss/nonfinite_steps",)

    steps: int = 0
    """Steps with a non-finite loss that are tolerated while the epoch means stay finite."""

    exploded: float = 100.0
    """Mean training loss of an epoch over that of the untrained model (or of an answer that ignores the input) that counts
    as diverged although it is finite. Random weights of the usual scale do not reach 3; no noise makes a hundred."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        return self._not_finite(history) or self._exploded(history)

    def _exploded(self, history: RunHistory) -> Finding | None:
        trivial = trivial_loss(history)
        if trivial is None and history.context.task not in MEASURED:
            return None  # a loss of unknown kind may begin near 0 by construction (annealed or adversarial terms)
        first, scale = history.series("loss/first").finite, loss_scale(history)
        usual = max(scale or 0.0, first.values[0] if len(first) else 0.0)
        epoch, worst = history.series("train/loss").best("max") or (0, 0.0)
        if usual <= 0 or worst < self.exploded * usual:
            return None
        text = (
            f"the training loss reached {number(worst)} in epoch {epoch}, where the untrained model had {number(usual)}"
        )
        return self._found(
            history,
            confidence=0.95,
            title=f"The loss exploded by epoch {epoch}",
            text=text,
            evidence=(Evidence(signal="train/loss", text=text, epoch=epoch, observed=worst, expected=usual),),
            why="Weights that large answer at random; what follows relearns from worse than the start.",
            next_test="train again at a tenth of the learning rate up to that epoch: the loss must stay below that of the start",
            epoch=epoch,
        )

    def _not_finite(self, history: RunHistory) -> Finding | None:
        first = next(
            (
                (name, e, v)
                for name in ("train/loss", "val/loss")
                for e, v in history.series(name)
                if not math.isfinite(v)
            ),
            None,
        )
        record = history.record(first[1]) if first else None
        stage = first[0].partition("/")[0] if first else ""
        if record is not None and without_targets(history, record, stage):
            return self.finding(severity="error", **no_target_left(record, stage))
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
        return self._found(
            history,
            confidence=1.0,
            title=f"The loss is not finite from epoch {epoch} on" if first else "Some steps had a non-finite loss",
            text=text,
            evidence=tuple(evidence),
            survived=first is None and _gradients_finite(history),
            why=SPARED
            if first is None and _gradients_finite(history)
            else "Weights that have met a non-finite gradient are lost; nothing after that epoch means anything.",
            next_test="run with Trainer(detect_anomaly=True) for one epoch: it names the operation that made the first NaN",
            epoch=epoch,
        )

    def _found(self, history: RunHistory, *, text: str, survived: bool = False, **of_kind: Any) -> Finding:
        lr = history.context.optim.lr
        against = (
            Evidence(
                signal="data.train.nonfinite_inputs", text="not excluded: inputs or targets that are NaN or infinite"
            ),
        )
        return self.finding(
            severity="error",
            claim="established",
            summary=f"The run {'went on, but' if survived else 'diverged:'} {text}"
            + (f" at a learning rate of {number(lr)}" if lr and not survived else "")
            + ".",
            against=() if history.context.data.train.nonfinite_inputs is not None else against,
            actions=(
                *((BATCHES,) if survived else LOWER),
                "check inputs and targets for NaN, and logarithms and divisions in the loss for 0",
            ),
            explains=() if survived else SYMPTOMS if of_kind["confidence"] < 1.0 else ("LD102", *SYMPTOMS),
            **of_kind,
        )


SYMPTOMS = ("LD106", "LD113", "LD115", "LD202", "LD203", "LD204", "LD205", "LD208", "LD301", "LD302", "LD706")
"""What follows from weights that are lost. A learning rate too high is the cause of a loss that exploded, where it shows."""
MEASURED = ("regression", "ctc")
"""Tasks whose loss has a scale although they have no classes."""
LABELS = {"train/loss": "the training loss", "val/loss": "the validation loss"}
"""How the two losses are called in a sentence."""
SPARED = "No gradient that was sampled was non-finite, so that the weights are not lost; what those steps should have taught is."
LOWER = ("a learning rate 10 times lower, with warm-up", "gradient_clip_val=1.0")
BATCHES = "look for batches without one target that counts (all of them ignore_index): their mean loss is 0/0 = NaN"
"""The usual cause of a NaN whose gradient is 0."""


def _gradients_finite(history: RunHistory) -> bool:
    """Whether gradients were looked at and none was NaN or infinite."""
    seen = history.series("grad/nonfinite_steps").finite.values
    return bool(seen) and not any(seen)
