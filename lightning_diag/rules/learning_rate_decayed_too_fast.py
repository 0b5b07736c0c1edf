"""LD105: the schedule ended learning long before the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory, Series
from lightning_diag.rules.base import Rule
from lightning_diag.rules.consequences import NOTHING_LEARNED
from lightning_diag.rules.reading import after, late, loss_scale, seen
from lightning_diag.words import number, percent


@dataclass(frozen=True, kw_only=True)
class LearningRateDecayedTooFast(Rule):
    """The schedule drove the learning rate to nearly zero while there was much left to learn."""

    code: ClassVar[str] = "LD105"
    name: ClassVar[str] = "learning-rate-decayed-too-fast"
    needs: ClassVar[tuple[str, ...]] = ("lr", "train/loss")
    min_epochs: ClassVar[int] = 3

    gone: float = 0.01
    """Share of the largest learning rate below which steps no longer matter; a cosine is there for its last 6 %."""
    idle: float = 0.33
    """Share of the run spent below it; usual schedules spend less than a tenth there."""
    level: float = 0.25
    """Training loss, as a share of what there was to learn, below which the schedule merely ended a run that was done."""
    headway: float = 0.1
    """Share of the largest learning rate from which steps make headway. Where the training loss was level by the end of these
    epochs, lower rates took nothing from it: a stepwise schedule on a noisy task."""
    pace: float = 0.05
    """Fall over the last third of these epochs, as a share of what there was to learn, below which it was level: as many
    epochs again, at a slowing pace, would have gained little more."""
    fall: float = 0.1
    """Relative fall of the loss after that epoch that shows that learning went on."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        lrs, loss = history.series("lr").finite, history.series("train/loss").finite
        top = max([*lrs.values, history.context.optim.lr or 0.0], default=0.0)
        still = [i for i, lr in enumerate(lrs.values) if lr >= self.gone * top]
        last = still[-1] + 1 if still else 0
        gone = lrs.epochs[last] if last < len(lrs) else None
        if gone is None or top <= 0:
            return None
        planned = history.context.optim.planned_epochs or 0
        length = max(len(lrs), planned)
        idle = sum(1 for e in lrs.epochs if e >= gone) / length
        rest, scale = after(loss, gone).values, loss_scale(history)
        if idle < self.idle or not rest or not scale or late(rest) < self.level * scale:
            return None
        if rest[0] > 0 and len(rest) > 2 and (rest[0] - rest[-1]) / rest[0] > self.fall:
            return None
        if self._level_before(loss, [e for e, lr in lrs if lr >= self.headway * top], scale):
            return None
        text = f"from epoch {gone} on the learning rate is below {percent(self.gone)} of {number(top)}, and the training loss stays at {number(late(rest))}"
        return self.finding(
            severity="error",
            confidence=0.9,
            claim="likely",
            title=f"The schedule ended learning in epoch {gone}",
            summary=f"The learning rate decayed too fast: {text}.",
            evidence=(
                Evidence(signal="lr", text=text, epoch=gone, observed=lrs.values[-1], expected=top),
                seen(history, "train/loss", "training loss"),
            ),
            why=f"{percent(idle)} of the run changed next to nothing.",
            actions=(
                'check {"scheduler": ..., "interval": "step" or "epoch"}: a schedule in epochs that is stepped per batch decays hundreds of times too fast',
                "a larger T_max, milestones or gamma",
            ),
            next_test="plot the learning rate per step; resume from the last checkpoint with a constant learning rate for two epochs",
            epoch=gone,
            explains=(*NOTHING_LEARNED, "LD103", "LD401"),
        )

    def _level_before(self, loss: Series, epochs: Sequence[int], scale: float) -> bool:
        """Whether the loss was level while the learning rate was high; not where that lasted fewer than six epochs."""
        values = [value for e, value in loss if epochs and e <= epochs[-1]]
        third = values[-max(4, len(values) // 3) :]
        return len(values) >= LEAST and third[0] - third[-1] < self.pace * scale


LEAST = 6
"""Epochs of which a level is told from a slow start."""
