"""LD206: a stopper ended a run that was still improving."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.ended_schedule import NEW_SCHEDULE, ended_schedule, trial
from lightning_diag.rules.still_improving import fall_at_end
from lightning_diag.words import number, percent


@dataclass(frozen=True, kw_only=True)
class StoppedTooEarly(Rule):
    """A stopping criterion ended the run although the last evaluation was its best and still falling."""

    code: ClassVar[str] = "LD206"
    name: ClassVar[str] = "stopped-too-early"
    needs: ClassVar[tuple[str, ...]] = ("val/loss", "stop")
    min_epochs: ClassVar[int] = 2

    per_epoch: float = 0.01
    """Mean fall per evaluation at the stop, as a share of what there was to learn: stopping saves time only when the next ten
    evaluations would gain less than a tenth of it."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        stop, loss = history.context.stop, history.series("val/loss").finite
        if stop.status != "stopped" or not stop.stopper:
            return None
        fall = fall_at_end(history, loss)
        if fall is None or fall.share < self.per_epoch:
            return None
        ended = ended_schedule(history)
        text = f"{stop.stopper} stopped after epoch {history.epochs[-1].epoch} at the best validation loss so far, {number(loss.values[-1])}"
        planned = history.context.optim.planned_epochs
        of_planned = f" ({len(history.epochs)} of {planned} epochs)" if planned and planned > 0 else ""
        return self.finding(
            severity="error",
            confidence=0.9,
            claim="established",
            title=f"{stop.stopper} ended a run that was still improving",
            summary=f"The run was stopped too early{of_planned}: {text}. {fall.text}.",
            evidence=(
                Evidence(
                    signal="val/loss", text=text, epoch=loss.epochs[-1], observed=fall.share, expected=self.per_epoch
                ),
            ),
            why="The best weights of this run are not known.",
            against=(*_expected_little(history), *((ended,) if ended else ())),
            actions=(*(NEW_SCHEDULE if ended else ()), *(ADAPTIVE if stop.stopper == "AdaptiveEarlyStop" else PATIENT)),
            next_test=trial(history, ended) if ended else "resume with ckpt_path= without the stopper for ten epochs",
            epoch=loss.epochs[-1],
            explains=("LD205", "LD204", "LD103", "LD115", "LD208", "LD301", "LD302", "LD303"),
        )


PATIENT = (
    "patience of 5 or more evaluations",
    "min_delta near 0, and below the noise of the monitored value",
    "check mode= of the stopper",
)
ADAPTIVE = (
    'max_missed_gain="safe", which stops later',
    "check monitor= and mode=: the series that it watches must be the one that counts",
)
"""It has no patience to set."""


def _expected_little(history: RunHistory) -> tuple[Evidence, ...]:
    """What a criterion that stopped the run expected of going on; a model of many runs, against the slope of this one."""
    seen = history.context.stop.probability
    if not seen:
        return ()
    epoch, chance = seen[-1]
    text = (
        f"the criterion gave the best a probability of {percent(chance)} to improve by more than 5 % of the gain still"
    )
    return (Evidence(signal="stop.probability", text=text, epoch=epoch, observed=chance),)
