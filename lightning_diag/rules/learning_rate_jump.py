"""LD506: the learning rate rose in the middle of the run, and the loss with it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory, Series
from lightning_diag.rules.base import Rule
from lightning_diag.rules.resuming import come_back
from lightning_diag.words import number


@dataclass(frozen=True, kw_only=True)
class LearningRateJump(Rule):
    """The learning rate jumped up once during the run, and the loss jumped with it."""

    code: ClassVar[str] = "LD506"
    name: ClassVar[str] = "learning-rate-jump"
    needs: ClassVar[tuple[str, ...]] = ("lr", "train/loss|val/loss")
    min_epochs: ClassVar[int] = 3

    rise: float = 3.0
    """Factor between two epochs; a warm-up over several epochs and usual restarts stay below, or do no harm."""
    worse: float = 1.25
    """Loss within two epochs after the jump over the loss before it. Warm-ups and restarts that suit the model leave it below 1.2."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        lrs = history.series("lr").finite
        rises = [
            (before, epoch, high / low)
            for (before, low), (epoch, high) in itertools.pairwise(lrs)
            if low > 0 and high >= self.rise * low
        ]
        loss = history.series("train/loss").finite or history.series("val/loss").finite
        hurt = [
            (epoch, factor, worse)
            for before, epoch, factor in rises
            if (worse := _worse(loss, before, epoch)) >= self.worse
        ]
        if not hurt or len(hurt) > 1:
            return None
        epoch, factor, worse = hurt[0]
        low, high = dict(lrs)[max(e for e in lrs.epochs if e < epoch)], dict(lrs)[epoch]
        text = f"the learning rate rose from {number(low)} to {number(high)} ({number(factor)} times) in epoch {epoch}, and the loss to {number(worse)} times its value"
        return self.finding(
            severity="error",
            confidence=0.93,
            claim="likely",
            title=f"The learning rate jumped {number(factor)} times in epoch {epoch}",
            summary=f"The learning rate jumped up during the run: {text}.",
            evidence=(Evidence(signal="lr", text=text, epoch=epoch, observed=high, expected=low),),
            why="What was learned with small steps is undone by large ones.",
            actions=(
                *(come_back(history, epoch) if epoch == (history.context.resumed_epoch or epoch) else ()),
                "check milestones and gamma of the scheduler, and code that sets param_groups",
            ),
            next_test=f"resume from the checkpoint before epoch {epoch} with the old learning rate",
            epoch=epoch,
            explains=(
                "LD102",
                "LD104",
                "LD106",
                "LD113",
                "LD115",
                "LD201",
                "LD202",
                "LD203",
                "LD204",
                "LD205",
                "LD207",
                "LD208",
                "LD301",
                "LD302",
                "LD606",
            ),
            excludes=("LD104",),
        )


def _worse(loss: Series, before: int, epoch: int) -> float:
    """Highest loss within two epochs from ``epoch`` over that of ``before``; 0 when not measured."""
    values = dict(loss)
    following = [values[e] for e in (epoch, epoch + 1, epoch + 2) if e in values]
    return max(following) / values[before] if following and values.get(before, 0.0) > 0 else 0.0
