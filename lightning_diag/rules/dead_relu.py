"""LD113: most ReLU units never fire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.consequences import NOTHING_LEARNED
from lightning_diag.rules.reading import late, since_above, stuck
from lightning_diag.words import percent


@dataclass(frozen=True, kw_only=True)
class DeadRelu(Rule):
    """Most units of a ReLU layer give zero for every sample of the probe."""

    code: ClassVar[str] = "LD113"
    name: ClassVar[str] = "dead-relu"
    needs: ClassVar[tuple[str, ...]] = ("relu/dead_share",)

    share: float = 0.9
    """Dead share of the worst layer. Wide healthy layers were measured at 0 to 0.37 (they have units to spare); nine tenths
    leave a layer of 64 with 6 units."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        dead = history.series("relu/dead_share").finite
        if not len(dead) or late(dead.values) < self.share:
            return None
        since = since_above(dead, min(self.share, late(dead.values)))
        since = dead.epochs[-1] if since is None else since
        harmless = stuck(history) is False
        early = since == dead.epochs[0]
        text = f"{percent(late(dead.values))} of the units of one ReLU layer never fired on the samples of the probe"
        return self.finding(
            severity="warning" if harmless else "error",
            confidence=0.8 if harmless else 0.95,
            claim="established",
            title=f"{percent(late(dead.values))} of a ReLU layer is dead",
            summary=f"Most of a layer is dead since epoch {since}: {text}.",
            evidence=(
                Evidence(
                    signal="relu/dead_share", text=text, epoch=since, observed=late(dead.values), expected=self.share
                ),
            ),
            against=(
                Evidence(
                    signal="relu/dead_share",
                    text="seen from the first epoch on: initial biases or the scale of the inputs, or a first epoch of too large steps",
                    epoch=since,
                ),
            )
            if early
            else (),
            why="A unit that never fires gets no gradient and does not come back.",
            actions=("default initialisation, biases at 0", "a lower learning rate with warm-up", "LeakyReLU or GELU"),
            next_test="count the dead units before the first step: already dead means initialisation or input scale, alive means the learning rate",
            scope="weights",
            epoch=since,
            explains=(*NOTHING_LEARNED, "LD103", "LD107"),
        )
