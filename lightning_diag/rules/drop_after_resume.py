"""LD503: the first epochs after a resume destroyed a working model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag import statistics
from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.reading import ALPHA, counts
from lightning_diag.rules.resuming import circumstances, not_excluded, recovery
from lightning_diag.words import number, of, p


@dataclass(frozen=True, kw_only=True)
class DropAfterResume(Rule):
    """Validation fell from where the run started to its first evaluation, and not by chance."""

    code: ClassVar[str] = "LD503"
    name: ClassVar[str] = "drop-after-resume"
    needs: ClassVar[tuple[str, ...]] = ("baseline", "stage:val|val/loss")

    alpha: float = ALPHA
    """Level of Fisher's exact test between the start and the first evaluation after it."""
    loss_rise: float = 0.5
    """Where only losses are known: relative rise that counts as a drop; a healthy resume moves the loss by a few per cent."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        baseline = history.context.baseline
        assert baseline is not None  # the engine checked ``needs``
        start = history.context.resumed_epoch or 0  # earlier records come from the checkpoint
        first = next((pair for pair in counts(history, "val") if pair[0] >= start), None)
        if baseline.correct and first:
            p_value = statistics.fisher(baseline.correct, first[1])
            if first[1].rate >= baseline.correct.rate or p_value >= self.alpha:
                return None
            fell = f"validation fell from {of(baseline.correct)} to {of(first[1])} in epoch {first[0]} ({p(p_value)})"
            return self._found(history, first[0], fell, first[1].rate, baseline.correct.rate, p_value)
        loss = history.series("val/loss").finite
        after = next((pair for pair in loss if pair[0] >= start), None)
        if baseline.loss is None or after is None:
            raise CannotTellError("neither accuracy nor loss of the start is known")
        epoch, value = after
        if value < baseline.loss * (1 + self.loss_rise):
            return None
        fell = f"validation loss rose from {number(baseline.loss)} to {number(value)} in epoch {epoch}"
        return self._found(history, epoch, fell, value, baseline.loss, None)

    def _found(
        self, history: RunHistory, epoch: int, fell: str, observed: float, expected: float, p_value: float | None
    ) -> Finding:
        evidence = (
            Evidence(
                signal="val/acc" if p_value is not None else "val/loss",
                text=fell,
                epoch=epoch,
                observed=observed,
                expected=expected,
                p_value=p_value,
            ),
            *circumstances(history, epoch),
        )
        return self.finding(
            severity="error",
            confidence=0.99 if p_value is not None else 0.8,
            claim="established",
            title=f"Drop in the first epoch after resuming; learning rate too high at resume is likely (epoch {epoch})",
            summary=f"The first epoch after resuming destroyed a working model: {fell}{recovery(history, expected, p_value)}.",
            evidence=evidence,
            against=tuple(Evidence(signal=s, text=f"not excluded: {t}") for s, t in not_excluded(history)),
            why="What follows relearns, at best, what the checkpoint could do already. Keep the checkpoint that you started from.",
            actions=(
                "resume with trainer.fit(..., ckpt_path=...), so that optimiser and schedule come back",
                "a lower learning rate with warm-up over the first 100 steps, one decay instead of restarts",
                "keep the checkpoint that the run started from",
            ),
            next_test="validate the checkpoint before the first step (trainer.validate): the old accuracy means that the "
            "updates did it, the new one that the weights or the preprocessing changed",
            scope="weights",
            epoch=epoch,
            explains=("LD506", "LD208", "LD102"),
        )
