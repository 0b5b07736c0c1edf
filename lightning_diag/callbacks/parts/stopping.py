"""The stopping criterion in a run: decisions while it goes on, or a replay at its end."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lightning_diag.callbacks.best_weights import BestWeights
from lightning_diag.callbacks.messages import say, warn
from lightning_diag.callbacks.run import Part, Run
from lightning_diag.callbacks.standing import resolve
from lightning_diag.history import EpochRecord, RunHistory, StopFacts, StopSettings, usual_series
from lightning_diag.rules.ctc_common import on_blank_plateau
from lightning_diag.signals.schedule import is_plateau, planned_rates
from lightning_diag.stopping import Decision, JointCriterion, inputs, replay

if TYPE_CHECKING:
    from lightning_diag.callbacks.early_stop import AdaptiveEarlyStop

PLAN_POINTS = 2_000
"""Coming evaluations at which the schedule is asked for its rate."""


class StoppingPart(Part):
    """Feeds each closed interval to the criterion.

    Args:
        stopper: the callback with the settings; None: nothing is decided, the run is replayed at its end.
    """

    title = "stopping"
    collective = ("interval_done", "fit_end")

    def __init__(self, stopper: AdaptiveEarlyStop | None = None) -> None:
        self.stopper = stopper
        self.criterion: JointCriterion | None = None
        self.decisions: list[tuple[int, Decision]] = []
        self.first_stop: tuple[int, Decision] | None = None
        self._wish: tuple[int, Decision] | None = None
        self._by_epoch = True
        self._stopped = False
        self._over = False
        self._weights = BestWeights() if stopper is not None and stopper.restore_best else None

    def fit_start(self, run: Run) -> None:
        """A stop of an earlier fit with the same callback is over."""
        if self.stopper is not None:
            self.stopper.stopped_epoch, self.stopper.stopping_reason_message = 0, None

    def train_start(self, run: Run) -> None:
        """Read the schedule, and take up the record of a resumed run."""
        self._by_epoch = run.trainer.val_check_batch >= run.trainer.num_training_batches
        asked = StopSettings() if self.stopper is None else self.stopper.settings()
        run.recorder.update(stopping=_scheduled(asked, run, by_epoch=self._by_epoch))
        if self.stopper is None:
            return
        for record in run.recorder.epochs:
            self._take(run, record)
        self.first_stop = None

    def interval_closed(self, run: Run) -> None:
        """Decide, and stop where that is asked for and allowed."""
        if self.stopper is None:
            return
        record = run.recorder.epochs[-1]
        decision = self._take(run, record)
        if self._weights is not None:
            self._weights.keep(run, record)
        if decision is None or not decision.stop:
            return
        if self.first_stop is None:
            self.first_stop = (record.epoch, decision)
            self._announce(run, record.epoch, decision)
        if _long_enough(run.trainer):
            self._wish = (record.epoch, decision)

    def interval_done(self, run: Run) -> None:
        """Stop on all processes where one wants to: each sees its own logged values."""
        if self.stopper is None or self.stopper.dry_run:
            return
        wish, self._wish = self._wish, None
        if _any_process(run, wanted=wish is not None):
            run.trainer.should_stop = True
            if wish is not None:
                self._stop(run, *wish)

    def take_part(self, run: Run, hook: str) -> None:
        """Follow the others."""
        if hook == "fit_end":
            self._put_back(run)
            return
        stops = self.stopper is not None and not self.stopper.dry_run and _any_process(run, wanted=False)
        run.trainer.should_stop |= stops

    def fit_end(self, run: Run) -> None:
        """Facts for the report; then the best weights back where that is asked for."""
        try:
            self._tell(run)
        finally:
            self._put_back(run)

    def state_dict(self, run: Run) -> dict[str, Any]:
        """Where the best weights are kept; the decisions follow from the record."""
        return {} if self._weights is None else self._weights.state()

    def load_state_dict(self, run: Run, state: dict[str, Any]) -> None:
        """Take up the best weights."""
        if self._weights is not None:
            self._weights.take_up(state)

    # -- inner --------------------------------------------------------------------------------------------------

    def _tell(self, run: Run) -> None:
        """What was decided, into the record."""
        stop = run.recorder.context.stop
        if self.stopper is None:
            run.recorder.update(stop=_replayed(stop, run.recorder.history()))
            return
        seen = tuple((epoch, d.probability) for epoch, d in self.decisions if d.probability is not None)
        stop = replace(stop, probability=seen)
        if self._stopped:
            stop = _saved(replace(stop, stopper=type(self.stopper).__name__), run)
        elif self.first_stop is not None:
            stop = _would(stop, self.first_stop, run.recorder.epochs)
        run.recorder.update(stop=stop)

    def _put_back(self, run: Run) -> None:
        """The best weights, once, on all processes of a fit that was not broken off."""
        if self._weights is None or self._over or run.extra.get("exception") is not None:
            return
        self._over = True
        run.recorder.note(self._weights.restore(run))
        stop = run.recorder.context.stop
        run.recorder.update(stop=replace(stop, best_checkpoint=self._weights.path or stop.best_checkpoint))

    def _take(self, run: Run, record: EpochRecord) -> Decision | None:
        criterion = self.criterion or self._start(run, record)
        if criterion is None or any(name not in record.values for name in criterion.criteria):
            return None
        index = record.epoch if self._by_epoch else record.step or 0
        decision = criterion.update(inputs(criterion, record, index, on_blank_plateau))
        self.decisions.append((record.epoch, decision))
        return decision

    def _start(self, run: Run, record: EpochRecord) -> JointCriterion | None:
        """The criterion, once there is a series to watch; what it is asked goes into the record."""
        series = self._series(run, record)
        if not series:
            return None
        asked = replace(run.recorder.context.stopping or StopSettings(), series=series)
        run.recorder.update(stopping=asked)
        self.criterion = JointCriterion.of(asked)
        return self.criterion

    def _series(self, run: Run, record: EpochRecord) -> tuple[tuple[str, str], ...]:
        """Series to watch, the leading one first, with their modes; empty before the first validation."""
        assert self.stopper is not None
        asked = self.stopper.watched
        if asked is not None and "val/loss" in record.values:
            found = resolve(asked, record.values)
            if found is not None:
                return ((found, self.stopper.watched_mode or self.stopper.mode),)
            _tell_unknown(run, asked, record)
        return usual_series(record.values)

    def _announce(self, run: Run, epoch: int, decision: Decision) -> None:
        assert self.stopper is not None
        verb = "would stop" if self.stopper.dry_run else "stops"
        run.recorder.add_event("would_stop" if self.stopper.dry_run else "stop", decision.reason)
        say(f"AdaptiveEarlyStop {verb} after epoch {epoch}: {decision.reason}.", run.trainer)

    def _stop(self, run: Run, epoch: int, decision: Decision) -> None:
        assert self.stopper is not None
        self._stopped = True
        self.stopper.stopped_epoch = epoch
        self.stopper.stopping_reason_message = decision.reason
        stop = replace(run.recorder.context.stop, stopper=type(self.stopper).__name__, reason=f"{decision.reason}.")
        run.recorder.update(stop=stop)


def _any_process(run: Run, *, wanted: bool) -> bool:
    return bool(run.trainer.strategy.reduce_boolean_decision(wanted, all=False)) if run.processes > 1 else wanted


def _long_enough(trainer: Any) -> bool:
    """Whether ``min_epochs`` and ``min_steps`` are reached: ``should_stop`` set earlier would be latched (#19966)."""
    epochs = trainer.current_epoch + 1 >= (trainer.min_epochs or 0)
    return bool(epochs and trainer.global_step >= (trainer.min_steps or 0))


def _tell_unknown(run: Run, asked: str, record: EpochRecord) -> None:
    names = ", ".join(sorted(name.removeprefix("logged/") for name in record.values if not name.startswith("train")))
    text = f"AdaptiveEarlyStop(monitor={asked!r}): there is no such series; validation metric and loss are watched instead. There are: {names}."
    if text not in run.recorder.context.notes:
        run.recorder.note(text)
        warn(f"lightning_diag: {text}")


def _planned(run: Run, *, by_epoch: bool) -> float | None:
    """Index of the last evaluation that is planned."""
    trainer = run.trainer
    if by_epoch and isinstance(trainer.max_epochs, int) and trainer.max_epochs > 0:
        return float(trainer.max_epochs - 1)
    steps = trainer.estimated_stepping_batches
    if math.isinf(steps) or steps <= 0:
        return None
    return steps / _steps_per_epoch(trainer) - 1 if by_epoch else float(steps)


def _steps_per_epoch(trainer: Any) -> float:
    batches = trainer.num_training_batches
    return max(1.0, batches / trainer.accumulate_grad_batches) if math.isfinite(batches) else 1.0


def _scheduled(asked: StopSettings, run: Run, *, by_epoch: bool) -> StopSettings:
    """With the planned end and schedule, in the unit of the evaluations."""
    asked = replace(asked, by_step=not by_epoch, planned=_planned(run, by_epoch=by_epoch))
    configs = run.trainer.lr_scheduler_configs
    if not configs:
        return asked
    scheduler = configs[0].scheduler
    rate = float(scheduler.optimizer.param_groups[0]["lr"])
    if is_plateau(scheduler):
        floor = float(getattr(scheduler, "min_lrs", [0.0])[0])
        return replace(asked, rates=((float(run.epoch), rate),), on_plateau=True, floor=floor)
    planned = _planned(run, by_epoch=True)
    if planned is None:
        return asked
    ahead = range(1, min(int(planned) + 2 - run.epoch, PLAN_POINTS))
    per_epoch = _steps_per_epoch(run.trainer)
    rates = planned_rates(configs[0], ahead, steps_per_epoch=per_epoch) or []
    unit = 1.0 if by_epoch else per_epoch
    shift = run.epoch - 1 if by_epoch else run.epoch
    return replace(asked, rates=_turns([((shift + e) * unit, r) for e, r in zip(ahead, rates, strict=False)]))


def _turns(points: list[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """The points without the inner ones of stretches at one rate, which say nothing more."""
    around = zip([None, *points], points, [*points[1:], None], strict=False)
    return tuple(p for a, p, b in around if a is None or b is None or not a[1] == p[1] == b[1])


def _saved(stop: StopFacts, run: Run) -> StopFacts:
    """Epochs and time that stopping saved of the planned length."""
    planned = run.recorder.context.optim.planned_epochs
    ran = run.recorder.epochs[-1].epoch + 1 if run.recorder.epochs else 0
    if planned is None or planned <= ran:
        return stop
    return replace(stop, saved_epochs=planned - ran, saved_seconds=_seconds(run.recorder.epochs) * (planned - ran))


def _would(stop: StopFacts, first: tuple[int, Decision], epochs: tuple[EpochRecord, ...]) -> StopFacts:
    """Where it would have stopped, and what that would have saved of the run as it was."""
    later = [record for record in epochs if record.epoch > first[0]]
    return replace(
        stop,
        would_stop_epoch=first[0],
        would_stop_reason=first[1].reason,
        saved_epochs=len({record.epoch for record in later}),
        saved_seconds=sum(record.values.get("time/epoch", 0.0) for record in later),
    )


def _replayed(stop: StopFacts, history: RunHistory) -> StopFacts:
    """The run seen again through the criterion with its defaults."""
    seen = replay(history, on_blank_plateau)
    if seen is None:
        return stop
    chances = zip(seen.epochs, (decision.probability for decision in seen.decisions), strict=True)
    stop = replace(stop, probability=tuple((epoch, p) for epoch, p in chances if p is not None))
    if seen.stop is None or seen.stop_epoch is None:
        return stop
    return replace(_would(stop, (seen.stop_epoch, seen.stop), history.epochs), missed_gain=seen.missed)


def _seconds(epochs: Iterable[EpochRecord]) -> float:
    times = sorted(record.values["time/epoch"] for record in epochs if "time/epoch" in record.values)
    return times[len(times) // 2] if times else 0.0
