"""LD112: clipping leaves next to nothing of each gradient."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.reading import fall
from lightning_diag.words import number, percent


@dataclass(frozen=True, kw_only=True)
class ClippingRemovesUpdates(Rule):
    """Gradient clipping leaves a small part of every gradient."""

    code: ClassVar[str] = "LD112"
    name: ClassVar[str] = "clipping-removes-updates"
    needs: ClassVar[tuple[str, ...]] = ("grad/clip_ratio",)

    left: float = 0.1
    """Typical share of the gradient norm that is left. Clipping is meant for rare steps; here it takes nine tenths of all."""
    fall: float = 0.5
    """Relative fall of the training loss from which the run learned in spite of it (``info``)."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        ratio = history.series("grad/clip_ratio").finite
        left = median(ratio.values) if len(ratio) else 1.0
        if left > self.left:
            return None
        slow = fall(history.series("train/loss")) < self.fall
        clip, optim = history.context.optim.clip, history.context.optim.optimizer or ""
        limit = f" (gradient_clip_val={number(clip)})" if clip else ""
        text = f"clipping left {percent(left)} of the gradient norm in a typical step{limit}"
        return self.finding(
            severity="error" if slow else "info",
            confidence=0.9 if slow else 0.6,
            claim="likely" if slow else "established",
            title=f"Clipping leaves {percent(left)} of each gradient",
            summary=f"Gradient clipping removes nearly all of every step: {text}.",
            evidence=(Evidence(signal="grad/clip_ratio", text=text, observed=left, expected=1.0),),
            against=(
                Evidence(
                    signal="optim", text=f"{optim} divides the gradient by its own size, which undoes a constant factor"
                ),
            )
            if "Adam" in optim
            else (),
            why="The threshold, not the learning rate, sets the pace; raising the learning rate would seem to do nothing.",
            actions=(
                "a threshold near the usual gradient norm: 1.0 is a common start",
                "raise the learning rate by the factor that clipping takes away",
            ),
            next_test="one epoch without clipping at the same learning rate",
            explains=(
                "LD103",
                "LD115",
                "LD202",
                "LD204",
                "LD205",
                "LD301",
                "LD302",
                "LD208",
                "LD107",
                "LD401",
                "LD412",
            ),
        )
