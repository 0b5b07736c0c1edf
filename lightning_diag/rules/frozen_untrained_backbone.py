"""LD110: most of a network keeps its values that was never pretrained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.consequences import NOTHING_LEARNED
from lightning_diag.rules.reading import pretrained
from lightning_diag.words import listed, percent


@dataclass(frozen=True, kw_only=True)
class FrozenUntrainedBackbone(Rule):
    """Most parameters are frozen or out of reach of the loss, and nothing shows that they were ever trained."""

    code: ClassVar[str] = "LD110"
    name: ClassVar[str] = "frozen-untrained-backbone"
    needs: ClassVar[tuple[str, ...]] = ("model.trainable", "model.parameters")

    frozen: float = 0.5
    """Share of parameters that are frozen or never got a gradient: most of the network."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        model, pretrain = history.context.model, pretrained(history)
        fresh = model.looks_fresh if model.frozen_fresh is None else model.frozen_fresh
        if not model.parameters or model.trainable is None:
            raise CannotTellError("the module has no parameters that were counted")
        frozen = 1 - model.trainable / model.parameters
        unreached = (model.without_grad or 0.0) * (1 - frozen)
        kept = (
            1.0 if model.changed is None else 1 - model.changed
        )  # a moving average of weights is frozen and follows them
        if min(frozen + unreached, kept) < self.frozen:
            return None
        if pretrain is not None and pretrain.verdict in TRAINED:
            return None
        if pretrain is None and fresh is False:
            return None
        blocks = f" ({listed(model.frozen)})" if model.frozen else ""
        parts = [f"{percent(frozen)} of the {model.parameters:,} parameters are frozen{blocks}"] if frozen else []
        if unreached:
            parts.append(f"{percent(unreached)} of the {model.parameters:,} never got a gradient")
        text = " and ".join(parts)
        origin = (
            f"the checkpoint is {pretrain.verdict}"
            if pretrain
            else "their values look freshly initialised"
            if fresh
            else "no pretrained weights are known"
        )
        sure = bool(pretrain or fresh)
        return self.finding(
            severity="error" if sure else "warning",
            confidence=0.95 if sure else 0.5,
            claim="established" if sure else "likely",
            title=f"{percent(frozen + unreached)} of an untrained network {'is frozen' if frozen > unreached else 'gets no gradient'}",
            summary=f"The model cannot learn its features: {text}, and {origin}.",
            evidence=(
                Evidence(signal="model.trainable", text=text, observed=frozen + unreached, expected=0.0),
                Evidence(signal="model.looks_fresh", text=origin),
            ),
            against=()
            if sure
            else (
                Evidence(signal="pretrain", text="not excluded: the weights come from a checkpoint that was not named"),
            ),
            why="A head on random features learns a fraction of what the network could.",
            actions=(
                *(NO_GRADIENT if unreached > frozen else ()),
                "load the pretrained weights that were meant (PretrainLoadVerifier(checkpoint=...) makes sure)",
                *(() if unreached > frozen else ("or unfreeze: requires_grad_(True) before configure_optimizers",)),
            ),
            next_test=f"{'let gradients through' if unreached > frozen else 'unfreeze'} and train for two epochs: training accuracy passes the present one at once if this was the reason",
            scope="weights",
            explains=(*NOTHING_LEARNED, "LD103", "LD107", "LD303"),
        )


NO_GRADIENT = (
    "look in forward for what cuts the gradient: torch.no_grad(), detach(), .data, a part that is not called",
)
TRAINED = ("loaded", "loaded, since trained or rounded", "resumed", "partly loaded")
"""Verdicts with which the frozen part may well be trained; partly loaded weights are LD502's business."""
