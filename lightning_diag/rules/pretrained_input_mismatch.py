"""LD507: inputs unlike those that the pretrained weights have seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.words import number


@dataclass(frozen=True, kw_only=True)
class PretrainedInputMismatch(Rule):
    """The inputs do not look like those that the pretrained weights were trained on."""

    code: ClassVar[str] = "LD507"
    name: ClassVar[str] = "pretrained-input-mismatch"
    needs: ClassVar[tuple[str, ...]] = ("model.norm_shift|model.norm_scale",)

    shift: float = 0.5
    """Mean distance of the channel means from the running means, in running standard deviations. The mean of a batch of B
    samples strays by at most 1/sqrt(B), 0.25 for 16; this is twice that."""
    serious: float = 1.0
    """Distance from which it is an error: inputs that lie outside of what the layer has seen."""
    scale: float = 3.0
    """Factor between the spread of a batch and the remembered one; a batch of 16 is off by a fifth."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        model = history.context.model
        shift, scale = model.norm_shift or 0.0, model.norm_scale
        stretched = scale is not None and scale > 0 and max(scale, 1 / scale) > self.scale
        if shift < self.shift and not stretched:
            return None
        parts = []
        if shift >= self.shift:
            parts.append(
                f"their channel means lie {number(shift)} standard deviations from what the first normalisation layer remembers"
            )
        if stretched and scale is not None:
            parts.append(f"their spread is {number(scale)} times what it remembers")
        text = ", and ".join(parts)
        return self.finding(
            severity="error" if shift >= self.serious or stretched else "warning",
            confidence=0.85 if shift >= self.serious or stretched else 0.7,
            claim="likely",
            title="Inputs are not preprocessed as in pretraining",
            summary=f"The pretrained weights meet inputs that they do not know: {text}.",
            evidence=(
                Evidence(
                    signal="model.norm_shift",
                    text=text,
                    observed=shift if shift >= self.shift else scale,
                    expected=0.0 if shift >= self.shift else 1.0,
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
