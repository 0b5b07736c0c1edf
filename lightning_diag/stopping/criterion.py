"""The stopping criterion: evaluations in, decisions out, nothing of torch or Lightning."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lightning_diag.errors import ConfigError
from lightning_diag.stopping.exits import Exits, ExitState
from lightning_diag.stopping.features import Tracks, View
from lightning_diag.stopping.model import Model, Outlook, shipped
from lightning_diag.stopping.schedule import LearningRatePlan, is_cut
from lightning_diag.stopping.track import Track, usable
from lightning_diag.stopping.values import Cause, Decision, Evaluation
from lightning_diag.stopping.wording import stalled_or_improving

SETTINGS: Mapping[str, float] = {"safe": 0.025, "default": 0.05, "early": 0.1}
"""Named values of ``max_missed_gain``: share of the gain that may be missed in the mean over runs."""

LOWER_IS_BETTER = ("loss", "err", "mse", "mae", "wer", "cer", "ter", "ppl", "perplexity", "bpb", "nll", "kl")
"""Parts of a name that say that lower values are better."""


@dataclass
class StoppingCriterion:
    """Decide after each evaluation whether a run is worth going on with.

    Feed :meth:`update` one :class:`Evaluation` after the other. The object keeps a few hundred numbers per series however
    long the run is, and never latches: each decision stands for its own evaluation.

    Attributes:
        mode: ``min`` or ``max``, which way the monitored series gets better.
        max_missed_gain: share of the gain (best of the full run less first value) that may be missed in the mean
            over runs, or ``safe``, ``default``, ``early`` (:data:`SETTINGS`). Smaller means later.
        min_gain: improvement worth waiting for, as a share of the gain; the probability speaks of it.
        planned: index at which the run is planned to end, in the unit of ``Evaluation.index``; None when unknown.
        plan: the learning rates to come; None when unknown.
        min_evaluations: evaluations before any stop; the model needs three.
        min_index: index before which no stop is made (``min_epochs``, ``min_steps``).
        after_cut: evaluations to see after a cut of the learning rate of 2x or more before any stop.
        exits: the fast exits.

    Raises:
        ConfigError: a setting is out of range.
    """

    mode: str = "min"
    max_missed_gain: float | str = "default"
    min_gain: float = 0.05
    planned: float | None = None
    plan: LearningRatePlan | None = None
    min_evaluations: int = 3
    min_index: float = -math.inf
    after_cut: int = 3
    exits: Exits = field(default_factory=Exits)
    models: tuple[Model, Model] = field(default_factory=shipped, repr=False)

    def __post_init__(self) -> None:
        if self.mode not in {"min", "max"}:
            raise ConfigError(f"mode={self.mode!r}: expected 'min' or 'max'")
        self.missed_limit = _missed_limit(self.max_missed_gain)
        if not 0.0 < self.min_gain < 1.0:
            raise ConfigError(f"min_gain={self.min_gain!r}: expected a share of the gain between 0 and 1, like 0.05")
        self._limits = [_limit(model, self.missed_limit, self.min_gain) for model in self.models]
        self.reset()

    def reset(self) -> None:
        """Forget the run."""
        self._tracks = Tracks(lower_is_better=self.mode == "min")
        self._state = ExitState()
        self._first = self._last = self._best_index = math.nan
        self._evaluations = 0
        self._lr = math.nan
        self._cut_at = -math.inf

    def update(self, evaluation: Evaluation) -> Decision:
        """Take the next evaluation and decide.

        Raises:
            ValueError: the index is not above that of the evaluation before.
        """
        self.record(evaluation)
        leave = self._state.check(self.exits, self._tracks, evaluation)
        early = self._too_early(evaluation)
        if leave and _may_leave(leave[0], early, evaluation.hold):
            return self._decision(evaluation, leave[0], leave[1], stop=True)
        return self._weigh(evaluation, early)

    def record(self, evaluation: Evaluation) -> None:
        """Take the next evaluation without deciding (the fast exits do not count it).

        Raises:
            ValueError: the index is not above that of the evaluation before.
        """
        if evaluation.index <= self._last:
            raise ValueError(f"index={evaluation.index:g} after {self._last:g}: expected ascending indices")
        tracks = self._tracks
        if not self._evaluations:
            self._first = evaluation.index
        self._last, self._evaluations = evaluation.index, self._evaluations + 1
        _add(tracks.value, evaluation.value, lower=self.mode == "min")
        if usable(evaluation.value) and tracks.value.wait == 0:
            self._best_index = evaluation.index
        _add(tracks.train_loss, evaluation.train_loss, lower=True)
        _add(tracks.val_loss, evaluation.val_loss, lower=True)
        for name, value in evaluation.others.items():
            low = any(part in name.lower() for part in LOWER_IS_BETTER)
            _add(tracks.others.setdefault(name, Track()), value, lower=low)
        self._record_lr(evaluation.lr)

    def _record_lr(self, lr: float | None) -> None:
        if lr is None or not usable(lr) or lr <= 0:
            return
        if is_cut(self._lr, lr):
            self._cut_at = self._evaluations
        self._lr = lr

    def _too_early(self, evaluation: Evaluation) -> str | None:
        if self._evaluations < self.min_evaluations or evaluation.index < self.min_index:
            return "before the least length that was asked for"
        return None

    def _held(self, evaluation: Evaluation) -> str | None:
        if evaluation.hold:
            return evaluation.hold
        since = self._evaluations - self._cut_at + 1
        if since < self.after_cut:
            return f"only {since:g} of {self.after_cut} evaluations since the learning rate was cut to {self._lr:.3g}"
        return self.plan.hold(evaluation.index, evaluation.lr) if self.plan else None

    @property
    def best_index(self) -> float:
        """Where the best value was seen; NaN before the first finite value."""
        return self._best_index

    def evaluations_left(self) -> float:
        """Evaluations still to come by the spacing so far; NaN when the end or the spacing is not known."""
        if self.planned is None or self._evaluations < 2:
            return math.nan
        spacing = (self._last - self._first) / (self._evaluations - 1)
        return max((self.planned - self._last) / spacing, 0.0)

    @property
    def ready(self) -> bool:
        """Whether there are values enough for the model."""
        return self._tracks.value.count >= 3

    def view(self) -> View:
        """The facts as they stand; needs one finite value."""
        return View.of(self._tracks, self.evaluations_left())

    def _weigh(self, evaluation: Evaluation, early: str | None) -> Decision:
        if not self.ready:
            return self._decision(evaluation, "too early", "fewer than three finite values: nothing can be said yet")
        left = self.evaluations_left()
        kind = int(math.isnan(left))
        model, (limit, threshold) = self.models[kind], self._limits[kind]
        parts = model.parts(View.of(self._tracks, left))
        score = model.score(parts)
        outlook = model.outlook(score)
        probability = outlook.probability(self.min_gain)
        stalled = score < limit and usable(evaluation.value)
        weights = tuple(sorted(parts.items(), key=lambda part: -abs(part[1]))[:5])
        facts = {"probability": probability, "threshold": threshold, "weights": weights, **self._expected(outlook)}
        hold = early or self._held(evaluation)
        if stalled and hold:
            return self._decision(evaluation, "too early" if early else "held", hold, **facts)
        wait = self._tracks.value.wait
        reason = stalled_or_improving(stalled, probability, threshold, self.min_gain, wait, weights)
        return self._decision(evaluation, "stalled" if stalled else "improving", reason, stop=stalled, **facts)

    def _expected(self, outlook: Outlook) -> dict[str, Any]:
        gain, expected, room = self._tracks.value.gain, outlook.expected, self._room()
        facts: dict[str, Any] = {"expected_missed": expected}
        if gain > 0:
            low, high = (min(_still(gain, outlook.quantile(level)), room) for level in (0.1, 0.9))
            facts |= {"expected_gain": min(_still(gain, expected), room), "interval": (low, high)}
        return facts

    def _room(self) -> float:
        """How much better the best can get: down to 0 where no value was negative, up to 1 where all were shares."""
        value = self._tracks.value
        if self.mode == "min":
            return -value.best if value.best <= 0.0 else math.inf
        return 1.0 - value.best if value.first >= 0.0 and value.best <= 1.0 else math.inf

    def _decision(
        self, evaluation: Evaluation, cause: Cause, reason: str, *, stop: bool = False, **facts: Any
    ) -> Decision:
        value = self._tracks.value
        best = (-value.best if self.mode == "min" else value.best) if value.count else None
        place = self._best_index if value.count else None
        return Decision(
            stop=stop, cause=cause, reason=reason, index=evaluation.index, best=best, best_index=place, **facts
        )

    def state_dict(self) -> dict[str, Any]:
        """The history as plain numbers and lists; no setting is in it, so that a resumed run takes the new ones."""
        tracks = self._tracks
        series = {"value": tracks.value, "train_loss": tracks.train_loss, "val_loss": tracks.val_loss}
        return {
            "tracks": {name: track.state() for name, track in series.items()},
            "others": {name: track.state() for name, track in tracks.others.items()},
            "exits": asdict(self._state),
            "counters": [self._first, self._last, self._best_index, self._evaluations, self._lr, self._cut_at],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`, under the settings of this object."""
        series = {name: Track.from_state(track) for name, track in state["tracks"].items()}
        others = {name: Track.from_state(track) for name, track in state["others"].items()}
        self._tracks = Tracks(self.mode == "min", **series, others=others)
        self._state = ExitState(**state["exits"])
        first, last, best, evaluations, lr, cut_at = state["counters"]
        self._first, self._last, self._best_index, self._lr = first, last, best, lr
        self._evaluations, self._cut_at = int(evaluations), cut_at


def _add(track: Track, value: float | None, *, lower: bool) -> None:
    if value is not None and usable(value):
        track.add(-value if lower else value)


def _missed_limit(setting: float | str) -> float:
    value = SETTINGS.get(setting, math.nan) if isinstance(setting, str) else setting
    if not 0.0 < value < 1.0:
        names = ", ".join(repr(name) for name in SETTINGS)
        raise ConfigError(f"max_missed_gain={setting!r}: expected {names} or a share between 0 and 1, like 0.05")
    return value


def _may_leave(cause: Cause, early: str | None, hold: str | None) -> bool:
    """Broken numbers end a run at any time, a target once it is long enough, the rest unless the caller holds it."""
    if cause == "non-finite":
        return True
    return not early and (cause == "target" or not hold)


def _limit(model: Model, missed: float, min_gain: float) -> tuple[float, float]:
    """(score below which to stop, the probability that goes with it)."""
    limit = model.limit(missed)
    return limit, model.outlook(limit).probability(min_gain)


def _still(gain: float, missed: float) -> float:
    """The improvement still to come when ``missed`` of the whole gain is missed: m = r / (g + r), so r = g·m / (1 - m)."""
    return gain * missed / (1.0 - min(missed, 0.95))
