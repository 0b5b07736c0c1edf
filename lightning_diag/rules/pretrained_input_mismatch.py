"""LD507: inputs unlike those that the pretrained weights have seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag import statistics
from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.reading import ALPHA
from lightning_diag.words import number


@dataclass(frozen=True, kw_only=True)
class PretrainedInputMismatch(Rule):
    """The inputs do not look like those that the pretrained weights were trained on."""

    code: ClassVar[str] = "LD507"
    name: ClassVar[str] = "pretrained-input-mismatch"
    needs: ClassVar[tuple[str, ...]] = ("model.norm_shift|model.norm_scale",)

    shift: float = 0.5
    """Mean distance of the channel means from the running means, in running standard deviations. Channels that all say the
    same stray together, by more than 2.6/sqrt(B) in one batch of B samples of a hundred: 0.46 for 32. For smaller batches
    that is the limit, and ``serious`` grows in proportion."""
    serious: float = 1.0
    """Distance from which it is an error: inputs that lie outside of what the layer has seen."""
    scale: float = 3.0
    """Factor between the spread of a batch and the remembered one; a batch of 16 is off by a fifth. That the spread is too
    small is asked from ``enough`` samples on."""
    enough: int = 8
    """Samples per batch; the spread of fewer is a third of the true one in more than one of a hundred."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        model = history.context.model
        shift, scale, batch = model.norm_shift or 0.0, model.norm_scale, history.context.data.train.batch_size
        strays = max(1.0, statistics.quantile(1 - ALPHA) / (batch**0.5 * self.shift)) if batch else 1.0
        shifted, far = shift >= self.shift * strays, shift >= self.serious * strays
        shrunk = scale is not None and 0 < scale * self.scale < 1 and (batch is None or batch >= self.enough)
        stretched = shrunk or (scale is not None and scale > self.scale)
        if not shifted and not stretched:
            return None
        parts = []
        if shifted:
            parts.append(
                f"their channel means lie {number(shift)} standard deviations from what the first normalisation layer remembers"
            )
        if stretched and scale is not None:
            parts.append(f"their spread is {number(scale)} times what it remembers")
        text = ", and ".join(parts)
        return self.finding(
            severity="error" if far or stretched else "warning",
            confidence=0.85 if far or stretched else 0.7,
            claim="likely",
            title="Inputs are not preprocessed as in pretraining",
            summary=f"The pretrained weights meet inputs that they do not know: {text}.",
            evidence=(
                Evidence(
                    signal="model.norm_shift",
                    text=text,
                    observed=shift if shifted else scale,
                    expected=0.0 if shifted else 1.0,
                ),
            ),
            against=(
                Evidence(
                    signal="data",
                    text="not excluded: a domain that really is that different (other sensors, other stains)",
                ),
            ),
            why="The first features saturate or vanish; much of what the weights know is lost.",
            actions=(
                "use the normalisation of the pretraining (its mean, its standard deviation, its range 0–1 or 0–255)",
                "check channel order and inversion (black on white)",
            ),
            next_test="feed 100 samples with the pretraining's own transform: the distance goes to about 0",
            scope="data",
            explains=("LD203", "LD204", "LD205", "LD609", "LD102", "LD201", "LD208", "LD106"),
            outweighs=("LD602",),
            excludes=("LD604",),
        )
