"""The facts that the criterion weighs, all free of scale: shares of the gain, of the run, or multiples of the noise.

*Gain* is the best value less the first one, the unit of everything below; *noise* is that of one evaluation. A fact
that cannot be known (no training loss, no planned end) is NaN and weighs what such runs weigh on average.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lightning_diag.stopping.track import Track

NAN = math.nan


@dataclass
class Tracks:
    """The series of one run that the criterion follows.

    Attributes:
        value: the monitored series; train_loss, val_loss: negated, so that higher is better; others: further
            validation series, oriented by their names.
        lower_is_better: mode of the monitored series.
    """

    lower_is_better: bool
    value: Track = field(default_factory=Track)
    train_loss: Track = field(default_factory=Track)
    val_loss: Track = field(default_factory=Track)
    others: dict[str, Track] = field(default_factory=dict)


@dataclass(frozen=True)
class View:
    """Numbers that several features share, computed once per evaluation."""

    tracks: Tracks
    left: float
    count: int
    gain: float
    noise: float

    @classmethod
    def of(cls, tracks: Tracks, left: float) -> View:
        """Look at ``tracks`` with ``left`` evaluations to come (NaN: unknown)."""
        value = tracks.value
        tiny = 1e-9 * abs(value.best) + 1e-300
        gain = max(value.gain, tiny)
        return cls(tracks, left, value.count, gain, max(value.noise(), 1e-6 * gain, tiny))

    @property
    def planned(self) -> float:
        """Evaluations of the whole run, NaN when unknown."""
        return self.count + self.left


def _log(x: float, low: float, high: float) -> float:
    """Natural logarithm of ``x`` held between ``low`` and ``high``; NaN stays NaN."""
    return math.log(min(max(x, low), high)) if x == x else NAN  # noqa: PLR0124  # the NaN test


def _clip(x: float, low: float, high: float) -> float:
    return min(max(x, low), high)


def _gained_since(view: View, count: float) -> float:
    value = view.tracks.value
    return (value.best - value.bests.at(count)) / view.gain


def _gained_lately(view: View, back: int) -> float:
    value = view.tracks.value
    return (value.best - value.best_ago(back)) / view.gain


def _pace(view: View) -> float:
    """Gain of the last half of the run so far against that of the quarter before it."""
    return math.log((_gained_since(view, view.count / 2) + 0.01) / (_halves(view) + 0.01))


def _halves(view: View) -> float:
    bests = view.tracks.value.bests
    return (bests.at(view.count / 2) - bests.at(view.count / 4)) / view.gain


def _stalled_for(view: View, share: float) -> float:
    """Evaluations since the best first came within ``share`` of the gain of where it is now."""
    value = view.tracks.value
    return view.count - value.bests.first_at(value.best - share * view.gain)


def _by_doubling(view: View) -> float:
    """Gain to come if each doubling of the run brings what the last one did."""
    return _log(_gained_since(view, view.count / 2) * math.log2(view.planned / view.count), 1e-4, 1e2)


def _by_decay(view: View) -> float:
    """Gain to come if the gain of each third of the run shrinks as it last did."""
    last = _gained_since(view, 2 * view.count / 3)
    before = _gained_since(view, view.count / 3) - last
    ratio = min((last + 1e-3) / (before + 1e-3), 0.95)
    thirds = min(3.0 * view.left / view.count, 30.0)
    return _log(last * ratio * (1.0 - ratio**thirds) / (1.0 - ratio), 1e-4, 1e2)


def _extrapolated(view: View, window: int) -> float:
    """Gain to come if the straight line through the last ``window`` values went on."""
    return _log(view.tracks.value.slope(window) * view.left / view.gain, 1e-3, 1e2)


def _below_best(view: View, average: int) -> float:
    value = view.tracks.value
    return value.best - value.averages[average]


def _training_progress(view: View) -> float:
    """Share of the fall of the training loss that was made in the second half of the run so far."""
    train = view.tracks.train_loss
    if train.count < 3:
        return NAN
    return _clip((train.averages[0] - train.values.at(train.count / 2)) / max(train.gain, 1e-12), -2.0, 2.0)


def _training_fall(view: View) -> float:
    """Log ratio of the training loss now and halfway; NaN where losses are not positive."""
    train = view.tracks.train_loss
    if train.count < 3:
        return NAN
    now, half = -train.averages[0], -train.values.at(train.count / 2)
    return _clip(math.log(now / half), -3.0, 3.0) if now > 0 and half > 0 else NAN


def _training_lately(view: View) -> float:
    train = view.tracks.train_loss
    if train.count < 3:
        return NAN
    now, before = -train.averages[0], -train.averages[2]
    return _clip(math.log(now / before), -3.0, 3.0) if now > 0 and before > 0 else NAN


def _training_level(view: View) -> float:
    train = view.tracks.train_loss
    if train.count < 3 or train.first >= 0 or train.recent[-1] >= 0:
        return NAN
    return _log(train.recent[-1] / train.first, 1e-4, 1e3)


def _wait_share(track: Track) -> float:
    return track.wait / track.count if track.count else NAN


def _freshest(view: View) -> float:
    """Shortest wait, over all other validation series, as a share of the run so far."""
    tracks = [t for t in (view.tracks.val_loss, *view.tracks.others.values()) if t.count]
    return min((_wait_share(t) for t in tracks), default=NAN)


FEATURES: Mapping[str, Callable[[View], float]] = {
    "evaluations": lambda v: math.log(v.count),
    "planned": lambda v: _log(v.planned, 1.0, 1e6),
    "progress": lambda v: v.count / v.planned,
    "wait of rest": lambda v: _log((v.tracks.value.wait + 1.0) / (v.left + 1.0), 1e-4, 1e4),
    "noise of gain": lambda v: _log(v.noise / v.gain, 1e-5, 1e2),
    "gained since half": lambda v: _gained_since(v, v.count / 2),
    "gained since two thirds": lambda v: _gained_since(v, 2 * v.count / 3),
    "gained in 5": lambda v: _gained_lately(v, 5),
    "gained in 10": lambda v: _gained_lately(v, 10),
    "gained in 20": lambda v: _gained_lately(v, 20),
    "pace": _pace,
    "stalled within 1 %": lambda v: _stalled_for(v, 0.01) / v.count,
    "stalled within 5 %": lambda v: _stalled_for(v, 0.05) / v.count,
    "stalled within 1 % of rest": lambda v: _log((_stalled_for(v, 0.01) + 1.0) / (v.left + 1.0), 1e-4, 1e4),
    "stalled within 5 % of rest": lambda v: _log((_stalled_for(v, 0.05) + 1.0) / (v.left + 1.0), 1e-4, 1e4),
    "by doubling": _by_doubling,
    "by decay": _by_decay,
    "below best 5, noise": lambda v: _clip(_below_best(v, 1) / v.noise, -20.0, 20.0),
    "below best 5, gain": lambda v: _clip(_below_best(v, 1) / v.gain, -1.0, 5.0),
    "trend 5-15, noise": lambda v: _clip((_below_best(v, 2) - _below_best(v, 1)) / v.noise, -20.0, 20.0),
    "trend 2-15, gain": lambda v: _clip((_below_best(v, 2) - _below_best(v, 0)) / v.gain, -5.0, 5.0),
    "extrapolated from 12": lambda v: _extrapolated(v, 12),
    "extrapolated from 30": lambda v: _extrapolated(v, 30),
    "training progress": _training_progress,
    "training fall": _training_fall,
    "training lately": _training_lately,
    "training level": _training_level,
    "freshest": _freshest,
}
"""Every fact by name. Each earned its place in cross-validation by repository; some twenty others did not."""
