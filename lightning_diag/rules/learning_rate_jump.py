"""LD506: the learning rate rose in the middle of the run, and the loss with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory, Series
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.climbs import Climb, climbs
from lightning_diag.rules.consequences import NOTHING_LEARNED
from lightning_diag.rules.no_end import NO_END, unended
from lightning_diag.rules.reading import after
from lightning_diag.rules.resuming import come_back
from lightning_diag.words import number


@dataclass(frozen=True, kw_only=True)
class LearningRateJump(Rule):
    """The learning rate jumped up once during the run, and the loss with it, at a resume or for good."""

    code: ClassVar[str] = "LD506"
    name: ClassVar[str] = "learning-rate-jump"
    needs: ClassVar[tuple[str, ...]] = ("lr", "train/loss|val/loss")
    min_epochs: ClassVar[int] = 3

    rise: float = 3.0
    """Factor between two epochs; rises in a row, as in a warm-up, count as one."""
    worse: float = 1.25
    """Loss within two epochs after the jump over the loss before it. Warm-ups and restarts that suit the model leave it below 1.2."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        loss = history.series("train/loss").finite or history.series("val/loss").finite
        found = [(climb, _highest(loss, climb)) for climb in climbs(history.series("lr").finite, self.rise)]
        hurt = [(climb, worst) for climb, worst in found if worst and worst[1] >= self.worse]
        if len(hurt) != 1:
            return None
        climb, (peak, worse) = hurt[0]
        resumed = history.context.resumed_epoch
        at_resume = resumed is not None and climb.before < resumed <= climb.top
        later, before = after(loss, peak + 1).values, dict(loss)[climb.before]
        if not at_resume and later and min(later) < before:
            return None  # it passed: a warm-up, or a restart
        if not at_resume and not later and unended(history):
            raise CannotTellError(
                f"the loss jumped with the learning rate in the last epoch, and {NO_END}, so that it may come back"
            )
        epoch, low, high, factor = climb.epoch, climb.low, climb.high, climb.high / climb.low
        back = f", and its lowest value since is {number(min(later))} against {number(before)} before" if later else ""
        rose = (
            f"from {number(low)} to {number(high)} ({number(factor)} times) in epoch {epoch}, "
            f"and the loss rose to {number(worse)} times its value{back}"
        )
        return self.finding(
            severity="error",
            confidence=0.93,
            claim="likely",
            title=f"The learning rate jumped {number(factor)} times in epoch {epoch}",
            summary=f"The learning rate jumped during the run {rose}.",
            evidence=(Evidence(signal="lr", text=rose, epoch=epoch, observed=high, expected=low),),
            why="What was learned with small steps is undone by large ones.",
            actions=(
                *(come_back(history, epoch) if at_resume or resumed is None else ()),
                "check milestones and gamma of the scheduler, and code that sets param_groups",
            ),
            next_test=f"resume from the checkpoint before epoch {epoch} with the old learning rate",
            epoch=epoch,
            explains=(*NOTHING_LEARNED, "LD102", "LD104", "LD106", "LD113", "LD201", "LD203", "LD207", "LD606"),
            excludes=("LD104",),
        )


def _highest(loss: Series, climb: Climb) -> tuple[int, float] | None:
    """(epoch, over that before) of the highest loss until two epochs after ``climb``; None when not measured."""
    values = dict(loss)
    following = [(values[e], e) for e in range(climb.epoch, climb.top + 3) if e in values]
    if not following or values.get(climb.before, 0.0) <= 0:
        return None
    highest, epoch = max(following)
    return epoch, highest / values[climb.before]
