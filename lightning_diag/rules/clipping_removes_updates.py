"""LD112: clipping leaves next to nothing of each gradient."""

from __future__ import annotations

import re
from dataclasses import dataclass
from statistics import median
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.consequences import NOTHING_LEARNED
from lightning_diag.rules.learning_rate_too_low import LearningRateTooLow
from lightning_diag.rules.pretraining import begun
from lightning_diag.rules.reading import movement, relative_fall, stuck
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
    """Relative fall of the training loss from which the run learned in spite of it (``info``). Asked where the optimiser takes
    the gradient as it is and the weights were not trained before, as fine-tuning begins near the end of its way."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        ratio = history.series("grad/clip_ratio").finite
        left = median(ratio.values) if len(ratio) else 1.0
        if left > self.left:
            return None
        clip, optim = history.context.optim.clip, history.context.optim.optimizer or ""
        undone = bool(NORMALISING.search(optim))
        slow = self._slow(history, undone=undone)
        limit = f" (gradient_clip_val={number(clip)})" if clip else ""
        most = (
            "at most " if history.context.optim.clip_algorithm == "value" else ""
        )  # that the norms of the tensors allow
        text = f"clipping left {most}{percent(left)} of the gradient norm in a typical step{limit}"
        return self.finding(
            severity="error" if slow else "info",
            confidence=0.6 if undone or not slow else 0.9,
            claim="likely" if slow else "established",
            title=f"Clipping leaves {percent(left)} of each gradient",
            summary=f"Gradient clipping removes nearly all of every step: {text}.",
            evidence=(Evidence(signal="grad/clip_ratio", text=text, observed=left, expected=1.0),),
            against=(
                Evidence(
                    signal="optim", text=f"{optim} divides the gradient by its own size, which undoes a constant factor"
                ),
            )
            if undone
            else (),
            why="The threshold, not the size of the gradient, sets the pace: every step is as long as the threshold allows.",
            actions=(
                'a threshold near the usual gradient norm: 1.0 is a common start (gradient_clip_algorithm="norm")',
                *(() if undone else ("raise the learning rate by the factor that clipping takes away",)),
            ),
            next_test="one epoch without clipping at the same learning rate",
            explains=SYMPTOMS if slow else (),
        )

    def _slow(self, history: RunHistory, *, undone: bool) -> bool:
        """Whether the run got nowhere, or, where clipping acts on the steps of new weights, not far."""
        nowhere = stuck(history)
        if undone or begun(history):
            moved = movement(history)
            return nowhere is True and (moved is None or moved <= MOVED)
        return nowhere is True or relative_fall(history.series("train/loss")) < self.fall


NORMALISING = re.compile("ada|rmsprop|rprop|lion|lamb|lars|muon", re.IGNORECASE)
"""Optimisers whose step does not change when all gradients are multiplied by one number (Adam and its kin)."""
MOVED = LearningRateTooLow.moved
"""Weights that moved further than this were not held by clipping."""
SYMPTOMS = (*NOTHING_LEARNED, "LD103", "LD107", "LD401", "LD412")
"""What follows where nothing is left of the steps."""
