"""LD108: weight decay eats the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.consequences import NOTHING_LEARNED
from lightning_diag.rules.reading import late, stuck, trivial_loss
from lightning_diag.words import number, percent


@dataclass(frozen=True, kw_only=True)
class WeightDecayTooHigh(Rule):
    """The weights shrink towards zero, and with them everything that was learned."""

    code: ClassVar[str] = "LD108"
    name: ClassVar[str] = "weight-decay-too-high"
    needs: ClassVar[tuple[str, ...]] = ("param/norm",)
    min_epochs: ClassVar[int] = 2

    left: float = 0.5
    """Norm of the weights at the end over its largest value: training that learns makes it grow; half of it gone, and
    nothing learned, is decay."""

    lost: float = 0.9
    """Training loss at the end over the trivial one, from which what had been learned is gone: as the level below which
    a loss alone shows learning."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        norm, decay = history.series("param/norm").finite, history.context.optim.weight_decay
        if len(norm) < 2 or norm.values[0] <= 0 or decay == 0.0:
            return None
        largest = max(*norm.values, _before_decay(history))
        left = norm.values[-1] / largest
        if left > self.left or (stuck(history) is False and not self._lost(history)):
            return None
        got = "and training got nowhere" if stuck(history) is not False else "and what training had learned is gone"
        by = f" with weight decay {number(decay)}" if decay else ""
        text = f"the norm of the weights fell from {number(largest)} to {number(norm.values[-1])}{by}"
        return self.finding(
            severity="error",
            confidence=0.95 if decay else 0.8,
            claim="likely",
            title=f"Weight decay too high: {percent(left)} of the weights are left",
            summary=f"Weight decay is too high: {text}, {got}.",
            evidence=(Evidence(signal="param/norm", text=text, observed=norm.values[-1], expected=largest),),
            why="Decay pulls harder than the loss; the answers become the same for every input.",
            actions=(
                "weight decay 10 to 1000 times lower (1e-4 for SGD, 1e-2 for AdamW are usual)",
                "AdamW instead of Adam: there the decay does not go through the gradient scaling",
                "no decay on biases and normalisation layers",
            ),
            next_test="two epochs without weight decay",
            scope="weights",
            explains=(*NOTHING_LEARNED, "LD102", "LD103", "LD107", "LD113", "LD401", "LD406", "LD412"),
        )

    def _lost(self, history: RunHistory) -> bool:
        """Whether the weights that are left say no more than an answer that ignores the input."""
        loss, trivial = history.series("train/loss").finite.values, trivial_loss(history)
        return bool(loss and trivial and late(loss) > self.lost * trivial)


def _before_decay(history: RunHistory) -> float:
    """Smallest norm that the weights can have had before an epoch took most of it away.

    Norms are recorded at the end of epochs, and strong decay is done within the first. An update of ``r`` times the
    weights that are left means that there were at least ``r - 1`` times as many before (triangle inequality).
    """
    norms = dict(history.series("param/norm").finite)
    ratios = history.series("update/ratio").finite
    return max(((ratio - 1.0) * norms[epoch] for epoch, ratio in ratios if epoch in norms), default=0.0)
