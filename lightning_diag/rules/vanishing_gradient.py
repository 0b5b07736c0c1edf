"""LD107: no gradient reaches the first layers."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.consequences import NOTHING_LEARNED
from lightning_diag.rules.reading import stuck
from lightning_diag.words import number


@dataclass(frozen=True, kw_only=True)
class VanishingGradient(Rule):
    """The gradient dies out on its way to the first layers, and nothing is learned."""

    code: ClassVar[str] = "LD107"
    name: ClassVar[str] = "vanishing-gradient"
    needs: ClassVar[tuple[str, ...]] = ("grad/first_last_ratio",)

    ratio: float = 1e-3
    """Gradient norm of the first over that of the last weight matrix. Healthy networks were measured at 0.04 to 1.4, nine
    sigmoid layers below 1e-4."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        ratio = history.series("grad/first_last_ratio").finite
        if not len(ratio):
            raise CannotTellError("no finite gradient ratio")
        typical = median(ratio.values[: max(3, len(ratio) // 2)])
        # layers thin a gradient out; exactly 0 means an input of zeros, or units that are dead
        if typical > self.ratio or typical == 0 or stuck(history) is False:
            return None
        text = f"the gradient of the first weight matrix is {number(typical)} of that of the last"
        return self.finding(
            severity="error",
            confidence=0.9 if stuck(history) else 0.6,
            claim="likely",
            title="The gradient vanishes towards the first layers",
            summary=f"The first layers are not trained: {text}, and training got nowhere.",
            evidence=(Evidence(signal="grad/first_last_ratio", text=text, observed=typical, expected=self.ratio),),
            why="Layers without a gradient keep their random weights, and all that follows gets noise.",
            actions=(
                "ReLU or GELU instead of sigmoid or tanh",
                "residual connections, or normalisation between the layers",
                "fewer layers",
            ),
            next_test="print the gradient norm of each weight matrix after one step: it falls by a constant factor per layer",
            explains=(*NOTHING_LEARNED, "LD103", "LD114", "LD401"),
        )
