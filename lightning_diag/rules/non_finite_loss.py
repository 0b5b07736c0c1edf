"""LD101: the loss became NaN or infinite, or exploded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.broken_losses import broken_loss, of_steps, of_validation
from lightning_diag.rules.consequences import WEIGHTS_LOST
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
        broken = self._not_finite(history)
        if broken is not None and broken.severity == "error":
            return broken
        return self._exploded(history) or broken

    def clear_text(self, history: RunHistory) -> str:
        """What was not asked of a loss of unknown kind."""
        unknown = "every loss is finite; of a loss of unknown kind nothing tells whether it exploded"
        return "" if _has_scale(history) else unknown

    def _exploded(self, history: RunHistory) -> Finding | None:
        if not _has_scale(history):
            return None
        first, scale = history.series("loss/first").finite, loss_scale(history)
        usual = max(scale or 0.0, first.values[0] if len(first) else 0.0)
        epoch, worst = history.series("train/loss").best("max") or (0, 0.0)
        if usual <= 0 or worst < self.exploded * usual:
            return None
        text = (
            f"the training loss reached {number(worst)} in epoch {epoch}, where the untrained model had {number(usual)}"
        )
        return self._diverged(
            history,
            confidence=0.95,
            explains=WEIGHTS_LOST,
            title=f"The loss exploded by epoch {epoch}",
            text=text,
            evidence=(Evidence(signal="train/loss", text=text, epoch=epoch, observed=worst, expected=usual),),
            why="Weights that large answer at random; what follows relearns from worse than the start.",
            next_test="train again at a tenth of the learning rate up to that epoch: the loss must stay below that of the start",
            epoch=epoch,
        )

    def _not_finite(self, history: RunHistory) -> Finding | None:
        found = broken_loss(history, self.steps)
        if found is None:
            return None
        record, stage = history.record(found.epoch), found.signal.partition("/")[0]
        if record is not None and without_targets(history, record, stage):
            return self.finding(severity="error", **no_target_left(record, stage))
        evidence = [
            Evidence(signal=found.signal, text=found.text, epoch=found.epoch, observed=float(found.times), expected=0.0)
        ]
        before = [v for e, v in history.series("grad/norm_max").finite if e <= found.epoch]
        if before and found.fate != "validation":
            text = f"largest gradient norm until then {number(max(before))}"
            evidence.append(Evidence(signal="grad/norm_max", text=text, epoch=found.epoch, observed=max(before)))
        if found.fate != "lost":
            text = f"the weights were not lost: {found.proof}"
            return self.finding(
                claim="established",
                confidence=1.0,
                evidence=(*evidence, Evidence(signal="train/loss", text=text, epoch=found.epoch)),
                epoch=found.epoch,
                **(of_validation if found.fate == "validation" else of_steps)(history, found),
            )
        return self._diverged(
            history,
            confidence=1.0,
            title=f"The loss is not finite from epoch {found.epoch} on",
            text=found.text,
            evidence=tuple(evidence),
            why="Weights that have met a non-finite gradient are lost; nothing after that epoch means anything.",
            next_test="run with Trainer(detect_anomaly=True) for one epoch: it names the operation that made the first NaN",
            epoch=found.epoch,
            explains=("LD102", *WEIGHTS_LOST),
        )

    def _diverged(self, history: RunHistory, *, text: str, **of_kind: Any) -> Finding:
        lr = history.context.optim.lr
        against = (
            Evidence(
                signal="data.train.nonfinite_inputs", text="not excluded: inputs or targets that are NaN or infinite"
            ),
        )
        return self.finding(
            severity="error",
            claim="established",
            summary=f"The run diverged: {text}" + (f" at a learning rate of {number(lr)}" if lr else "") + ".",
            against=() if history.context.data.train.nonfinite_inputs is not None else against,
            actions=(
                "a learning rate 10 times lower, with warm-up",
                "gradient_clip_val=1.0",
                "check inputs and targets for NaN, and logarithms and divisions in the loss for 0",
            ),
            **of_kind,
        )


MEASURED = ("regression", "ctc")
"""Tasks whose loss has a scale although they have no classes."""


def _has_scale(history: RunHistory) -> bool:
    """Whether a loss can be called large; one of unknown kind may begin near 0 by construction (annealed, adversarial)."""
    return history.context.task in MEASURED or trivial_loss(history) is not None
