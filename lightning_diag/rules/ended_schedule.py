"""Whether the schedule was over when the run ended: then more epochs need another schedule."""

from __future__ import annotations

from lightning_diag.findings import Evidence
from lightning_diag.history import RunHistory
from lightning_diag.rules.climbs import climbs
from lightning_diag.rules.reading import after
from lightning_diag.words import number, percent

LITTLE = 0.1
"""Share of the largest learning rate below which steps make little headway (as in LD105)."""
TWICE = 2.0
"""A rise by this factor after the peak is a restart: such a schedule goes on by itself."""
CYCLIC = frozenset({"CosineAnnealingWarmRestarts", "CyclicLR"})
"""Schedules that rise again, of which a record may hold the first cycle alone."""


def ended_schedule(history: RunHistory) -> Evidence | None:
    """The last learning rate of this fit against its peak, where epochs at that rate would change little."""
    lrs = after(history.series("lr").finite, history.context.resumed_epoch or 0)
    peak = lrs.best("max")
    if peak is None or history.context.optim.scheduler in CYCLIC:
        return None
    (epoch, high), last = peak, lrs.values[-1]
    if last >= LITTLE * high or any(climb.before > epoch for climb in climbs(lrs, TWICE)):
        return None
    text = f"the learning rate came down to {number(last)} by then, {percent(last / high)} of its peak {number(high)}"
    return Evidence(signal="lr", text=text, epoch=lrs.epochs[-1], observed=last, expected=high)


NEW_SCHEDULE = (
    "train longer under a schedule planned for that length (T_max, total_steps or milestones)",
    "to go on from these weights, load them without ckpt_path=, which would restore the schedule that is over",
)
"""What *train longer* takes then: a scheduler's state holds its length, which replaces the one that is asked for."""


def trial(history: RunHistory, ended: Evidence) -> str:
    """The next test: headway at a rate that makes some."""
    loss = history.series("val/loss").finite.values[-1]
    return (
        f"from these weights, three epochs at {number(LITTLE * (ended.expected or 0.0))}, a tenth of the peak: "
        f"a validation loss below {number(loss)} shows that more was to be gained"
    )
