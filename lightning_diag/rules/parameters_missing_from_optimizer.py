"""LD109: trainable parameters that no optimiser updates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.consequences import NOTHING_LEARNED
from lightning_diag.words import listed, percent


@dataclass(frozen=True, kw_only=True)
class ParametersMissingFromOptimizer(Rule):
    """Parameters require a gradient, get one, and are in no optimiser: they keep their initial values."""

    code: ClassVar[str] = "LD109"
    name: ClassVar[str] = "parameters-missing-from-optimizer"
    needs: ClassVar[tuple[str, ...]] = ("model.trainable_not_in_optimizer",)

    share: float = 0.001
    """Share of all parameters; a learnable temperature or an unused buffer-like parameter stays below it."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        model = history.context.model
        share = model.trainable_not_in_optimizer or 0.0
        if share <= self.share:
            return None
        idle = model.missing_without_grad or 0.0
        unused = share - idle <= self.share
        blocks = f": {listed(model.missing_blocks)}" if model.missing_blocks else ""
        of_them = (
            "none of them ever got one" if idle >= share else f"{percent(share - idle)} of all got one in training"
        )
        grads = "" if model.missing_without_grad is None else f"; {of_them}"
        text = f"{percent(share)} of the parameters require a gradient and are in no optimiser{blocks}{grads}"
        changed = (
            ()
            if model.changed is None
            else (
                Evidence(
                    signal="model.changed",
                    text=f"{percent(model.changed)} of the parameters changed during the run",
                    observed=model.changed,
                ),
            )
        )
        return self.finding(
            severity="info" if unused else "error",
            confidence=0.99,
            claim="established",
            title=f"{percent(share)} of the parameters never reach the optimiser",
            summary=f"Part of the model is {'not part of training' if unused else 'never trained'}: {text}.",
            evidence=(
                Evidence(signal="model.trainable_not_in_optimizer", text=text, observed=share, expected=0.0),
                *changed,
            ),
            why="That is how copies are kept that training does not update (target networks, moving averages); else they are not used."
            if unused
            else "These parameters keep the values they started with; the rest learns around them.",
            actions=UNUSED
            if unused
            else (
                "pass self.parameters() to the optimiser in configure_optimizers",
                "create all layers before configure_optimizers runs (lazy modules, ParameterList instead of list)",
                "if they are meant to be frozen, say so with requires_grad_(False)",
            ),
            next_test="after one epoch compare each parameter with its initial value: all of them must have changed",
            scope="weights",
            explains=() if unused else CAUSED,
        )


CAUSED = (*NOTHING_LEARNED, "LD103", "LD107", "LD110", "LD111", "LD203")
UNUSED = (
    "say that they are not trained with requires_grad_(False)",
    "if they should be trained: nothing in the loss depends on them (a part that forward does not call, detach, no_grad)",
)
