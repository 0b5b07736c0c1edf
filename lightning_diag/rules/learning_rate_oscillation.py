"""LD104: each restart of the schedule throws the model back."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory, Series
from lightning_diag.rules.base import Rule
from lightning_diag.rules.climbs import Climb, climbs
from lightning_diag.rules.reading import after
from lightning_diag.words import listed, number


@dataclass(frozen=True, kw_only=True)
class LearningRateOscillation(Rule):
    """The loss jumps each time the schedule raises the learning rate, and most cycles win nothing over those before."""

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
        lrs = history.series("lr").finite
        rises = climbs(lrs, self.rise)
        jumps = _jumps(rises, loss)
        if len(jumps) < self.restarts:
            return None
        worse = [(epoch, factor) for epoch, factor in jumps if factor >= self.factor]
        typical = median(factor for _, factor in jumps)
        if typical < self.factor or len(worse) < self.restarts:
            return None
        cut_short = min(after(lrs, rises[-1].top).values) > self.rise * rises[-1].low
        lows = _lows(loss, [climb.epoch for climb in rises])[: -1 if cut_short else None]
        won = sum(low < min(lows[:i]) for i, low in enumerate(lows) if i)
        if 2 * won >= len(lows) - 1:
            return None  # a restart is meant to throw the model back, and to win more than that
        text = (
            f"after {len(worse)} of {len(jumps)} rises of the learning rate the loss went up, {number(typical)} times as "
            f"high as before (epochs {listed([str(e) for e, _ in worse])})"
        )
        cycles = (
            f"{won} of the {len(lows) - 1} cycles after the first reached a new best; "
            f"lowest of each: {listed([number(low) for low in lows])}"
        )
        return self.finding(
            severity="error",
            confidence=0.9,
            claim="likely",
            title=f"The loss jumps with each restart of the schedule ({number(typical)} times)",
            summary=f"The loss follows the learning rate schedule: {text}.",
            evidence=(
                Evidence(signal="lr", text=text, epoch=worse[0][0], observed=typical, expected=1.0),
                Evidence(
                    signal=loss.name,
                    text=cycles,
                    observed=lows[-1],
                    expected=min(lows[:-1]),
                ),
            ),
            why="Each cycle undoes part of the one before; where the run ends is decided by where in the cycle it ends.",
            actions=(
                f"a peak 3 to 10 times below {number(max(lrs.values))}",
                "one cosine decay without restarts",
                "keep the checkpoint of the end of a cycle",
            ),
            next_test="the same run with one decay from a third of the peak",
            explains=("LD102", "LD201", "LD506", "LD113", "LD207"),
            excludes=("LD506",),
        )


def _jumps(rises: Sequence[Climb], loss: Series) -> list[tuple[int, float]]:
    """(epoch, loss until two epochs after it over loss before) of every climb of the learning rate."""
    losses = dict(loss)
    out = []
    for climb in rises:
        after_it = [losses[e] for e in range(climb.epoch, climb.top + 3) if e in losses]
        if losses.get(climb.before, 0.0) > 0 and after_it:
            out.append((climb.epoch, max(after_it) / losses[climb.before]))
    return out


def _lows(loss: Series, starts: Sequence[int]) -> list[float]:
    """Lowest loss of each cycle.

    The rate of an epoch is that of its end in some logs and that of its start in others: its loss is counted with the
    cycle that ends, whose lowest it does not change if it was the jump already.
    """
    edges = [loss.epochs[0] - 1, *starts, loss.epochs[-1]]
    cycles = [[v for e, v in loss if a < e <= b] for a, b in itertools.pairwise(edges)]
    return [min(cycle) for cycle in cycles if cycle]
