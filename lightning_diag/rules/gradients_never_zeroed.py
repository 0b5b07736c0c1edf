"""LD111: gradients of earlier steps are still there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Claim, Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.consequences import NOTHING_LEARNED
from lightning_diag.rules.reading import seen
from lightning_diag.words import number


@dataclass(frozen=True, kw_only=True)
class GradientsNeverZeroed(Rule):
    """Each step adds its gradient to those of all steps before it."""

    code: ClassVar[str] = "LD111"
    name: ClassVar[str] = "gradients-never-zeroed"
    needs: ClassVar[tuple[str, ...]] = ("optim.gradients_kept|grad/cosine",)

    kept: float = 0.5
    """Share of sampled steps that began with an old gradient; one such step may be a deliberate accumulation."""
    cosine: float = 0.9
    """Without that observation: mean cosine of consecutive gradients in the first epoch. Measured 0.98 without
    ``zero_grad``, 0.14 to 0.30 in healthy runs; full-batch training comes near 1 too, but its norm does not grow."""
    growth: float = 3.0
    """Growth of the mean gradient norm within the first three epochs that a sum of gradients shows at least."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        kept = history.context.optim.gradients_kept
        if kept is not None:
            return (
                self._found(
                    history,
                    f"{kept.k} of {kept.n} sampled steps began with the gradient of an earlier step",
                    kept.rate,
                    signal="optim.gradients_kept",
                    confidence=0.99,
                    claim="established",
                )
                if kept.n and kept.rate > self.kept
                else None
            )
        cosine, norm = history.series("grad/cosine").finite, history.series("grad/norm").finite
        if len(cosine) == 0 or len(norm) < 2 or norm.values[0] <= 0:
            raise CannotTellError("gradients were sampled in fewer than two epochs")
        growth = max(norm.values[:3]) / norm.values[0]
        if cosine.values[0] < self.cosine or growth < self.growth or (history.context.optim.accumulate or 1) > 1:
            return None
        return self._found(
            history,
            f"consecutive gradients are nearly parallel (cosine {number(cosine.values[0])}) and grow {number(growth)} times",
            cosine.values[0],
            signal="grad/cosine",
            confidence=0.85,
            claim="likely",
        )

    def _found(
        self, history: RunHistory, text: str, observed: float, *, signal: str, confidence: float, claim: Claim
    ) -> Finding:
        norm = history.series("grad/norm").finite
        more = (seen(history, "grad/norm", "gradient norm"),) if len(norm) else ()
        return self.finding(
            severity="error",
            confidence=confidence,
            claim=claim,
            title="Gradients are never set to zero",
            summary=f"Gradients accumulate over steps: {text}.",
            evidence=(
                Evidence(
                    signal=signal,
                    text=text,
                    observed=observed,
                    expected=0.0,
                ),
                *more,
            ),
            why="Each update repeats all earlier ones; the effective learning rate grows with every step.",
            actions=(
                "call optimizer.zero_grad() before manual_backward()",
                "if accumulation is meant, use accumulate_grad_batches, or zero every k steps",
            ),
            next_test="print the gradient norm before the backward pass of the second step: it must be 0",
            explains=(*NOTHING_LEARNED, "LD101", "LD102", "LD103", "LD104", "LD106", "LD107", "LD113"),
        )
