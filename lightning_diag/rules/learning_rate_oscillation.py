"""LD104: each restart of the schedule throws the model back."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from statistics import median
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory, Series
from lightning_diag.rules.base import Rule
from lightning_diag.words import listed, number


@dataclass(frozen=True, kw_only=True)
class LearningRateOscillation(Rule):
    """The loss jumps each time the schedule raises the learning rate."""

    code: ClassVar[str] = "LD104"
    name: ClassVar[str] = "learning-rate-oscillation"
    needs: ClassVar[tuple[str, ...]] = ("lr", "val/loss|train/loss")
    min_epochs: ClassVar[int] = 4

    rise: float = 2.0
    """Factor between two epochs from which the learning rate counts as raised."""
    factor: float = 1.5
    """Typical loss within two epochs after a rise over the loss before it. With a peak that suits the model, restarts were
    measured at 1.0 to 1.2; half as much again is more than a cycle usually gains."""
    restarts: int = 2
    """Rises that must show it: one jump is no pattern."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        loss = history.series("val/loss").finite or history.series("train/loss").finite
        jumps = _jumps(history, loss, self.rise)
        if len(jumps) < self.restarts:
            return None
        worse = [(epoch, factor) for epoch, factor in jumps if factor >= self.factor]
        typical = median(factor for _, factor in jumps)
        if typical < self.factor or len(worse) < self.restarts:
            return None
        text = f"after {len(worse)} of {len(jumps)} rises of the learning rate the loss went up, {number(typical)} times as high as before (epochs {listed([str(e) for e, _ in worse])})"
        top = max(history.series("lr").values)
        return self.finding(
            severity="error",
            confidence=0.9,
            claim="likely",
            title=f"The loss jumps with each restart of the schedule ({number(typical)} times)",
            summary=f"The loss follows the learning rate schedule: {text}.",
            evidence=(Evidence(signal="lr", text=text, epoch=worse[0][0], observed=typical, expected=1.0),),
            why="Each cycle undoes part of the one before; where the run ends is decided by where in the cycle it ends.",
            actions=(
                f"a peak 3 to 10 times below {number(top)}",
                "one cosine decay without restarts",
                "keep the checkpoint of the end of a cycle",
            ),
            next_test="the same run with one decay from a third of the peak",
            explains=("LD102", "LD201", "LD506", "LD113", "LD207"),
            excludes=("LD506",),
        )


def _jumps(history: RunHistory, loss: Series, rise: float) -> list[tuple[int, float]]:
    """(epoch, loss within two epochs after over loss before) of every rise of the learning rate."""
    lrs, losses = history.series("lr").finite, dict(loss)
    out = []
    for (before, low), (epoch, high) in itertools.pairwise(lrs):
        after_it = [losses[e] for e in (epoch, epoch + 1, epoch + 2) if e in losses]
        if low > 0 and high >= rise * low and before in losses and losses[before] > 0 and after_it:
            out.append((epoch, max(after_it) / losses[before]))
    return out
