"""LD106: gradients of a few steps dwarf all others."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.broken_losses import scales_loss
from lightning_diag.rules.reading import stuck
from lightning_diag.words import number


@dataclass(frozen=True, kw_only=True)
class ExplodingGradient(Rule):
    """The gradient of some steps is orders of magnitude larger than usual."""

    code: ClassVar[str] = "LD106"
    name: ClassVar[str] = "exploding-gradient"
    needs: ClassVar[tuple[str, ...]] = ("grad/norm", "grad/norm_max")

    factor: float = 100.0
    """Largest norm over the median one; also the smallest norm that is called exploded. Norms vary by a factor of 10 over a
    healthy run (0.3 to 3 measured), and by 20 with a learning rate that is 100 times too high."""
    broken: int = 0
    """Sampled steps with a non-finite gradient that are tolerated. Where fp16 is scaled (``16-mixed``) they are part
    of it; bfloat16 needs no scaling."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        norms, peaks = history.series("grad/norm").finite, history.series("grad/norm_max").finite
        broken = sum(history.series("grad/nonfinite_steps").finite.values)
        scaled = scales_loss(history)
        if not len(norms) or not len(peaks):
            return (
                self._found(f"{number(broken)} sampled steps had a non-finite gradient", broken, 0.0, 0.9)
                if broken and not scaled
                else None
            )
        usual, (epoch, peak) = median(norms.values), max(peaks, key=lambda pair: pair[1])
        if broken > self.broken and not scaled:
            return self._found(f"{number(broken)} sampled steps had a non-finite gradient", broken, 0.0, 0.9)
        if (
            usual <= 0
            or peak < self.factor * usual
            or peak < self.factor
            or (epoch == peaks.epochs[0] and stuck(history) is False)
        ):
            return None
        return self._found(
            f"the gradient norm reached {number(peak)} in epoch {epoch}; usual is {number(usual)}", peak, usual, 0.7
        )

    def _found(self, text: str, observed: float, expected: float, confidence: float) -> Finding:
        return self.finding(
            severity="warning",
            confidence=confidence,
            claim="likely",
            title="Gradients explode",
            summary=f"Gradients explode: {text}.",
            evidence=(Evidence(signal="grad/norm_max", text=text, observed=observed, expected=expected),),
            why="One such step can undo an epoch of training.",
            actions=(
                "gradient_clip_val=1.0",
                "a lower learning rate with warm-up",
                "normalisation layers, or a smaller initialisation of recurrent weights",
            ),
            next_test="log the batch that had the largest gradient: a broken sample or the model itself",
            explains=("LD104",),
        )
