"""Reasons to stop at once, and none of them learnt: broken numbers, a target reached, collapse, a proven worsening."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lightning_diag.stopping.features import Tracks
from lightning_diag.stopping.track import Track, usable
from lightning_diag.stopping.values import Cause, Evaluation
from lightning_diag.words import number, p

Exit = tuple[Cause, str]


@dataclass(frozen=True, kw_only=True)
class Exits:
    """When to stop without asking what is to be expected.

    Attributes:
        nonfinite: evaluations in a row without a finite monitored value before stopping; one is enough when the
            training loss is not finite either.
        worse_p: largest p-value at which the samples count as faring worse than at the best evaluation. Small,
            because the test is repeated at each evaluation.
        worse_times: evaluations in a row at which that holds, while the training loss is below its value at the best.
        rise: where samples are not paired: how many times its noise the recent average (half-life 5) must lie below the
            best to count as worse, while the training loss is at its lowest.
        rise_times: evaluations in a row at which that holds. Of 361 recorded runs 20 were so for six in a row; going on
            would have brought them 0.2 % of their gain in the mean, 5 % at most.
        collapse_times: evaluations in a row at which both the monitored value and the training loss have lost nine
            tenths of a gain that was well above the noise. Of 361 recorded runs two were so for five evaluations, one
            of which came back; none was so for ten. A lost value alone proves nothing: two runs in three came back.
        target: value that is enough; target_times: evaluations in a row at which it is held.
        stop_at_target: whether to stop there.
    """

    nonfinite: int = 2
    worse_p: float = 0.001
    worse_times: int = 3
    rise: float = 5.0
    rise_times: int = 6
    collapse_times: int = 10
    target: float | None = None
    target_times: int = 2
    stop_at_target: bool = False


@dataclass
class ExitState:
    """What the exits remember: how many evaluations in a row each condition has held."""

    nonfinite: int = 0
    worse: int = 0
    risen: int = 0
    collapsed: int = 0
    reached: int = 0
    training_at_best: float = math.nan

    def check(self, exits: Exits, tracks: Tracks, evaluation: Evaluation) -> Exit | None:
        """Take one evaluation, which ``tracks`` have taken already, and say whether to stop at once."""
        self._count(exits, tracks, evaluation)
        return (
            self._broken(exits, evaluation)
            or self._target(exits, evaluation)
            or self._collapse(exits, tracks, evaluation)
            or self._worsened(exits, evaluation)
        )

    def _count(self, exits: Exits, tracks: Tracks, evaluation: Evaluation) -> None:
        finite, value = usable(evaluation.value), tracks.value
        self.nonfinite = 0 if finite else self.nonfinite + 1
        lost = finite and _lost(value) and _lost(tracks.train_loss)
        self.collapsed = self.collapsed + 1 if lost else 0
        self.reached = self.reached + 1 if finite and _reaches(exits, tracks, evaluation) else 0
        if finite and value.wait == 0:
            self.training_at_best = tracks.train_loss.recent[-1] if tracks.train_loss.count else math.nan
        worse = evaluation.worse is not None and evaluation.worse <= exits.worse_p
        self.worse = self.worse + 1 if worse and self._training_improved(tracks) else 0
        self.risen = self.risen + 1 if finite and _risen(exits, tracks) else 0

    def _training_improved(self, tracks: Tracks) -> bool:
        return tracks.train_loss.count > 0 and tracks.train_loss.recent[-1] > self.training_at_best

    def _broken(self, exits: Exits, evaluation: Evaluation) -> Exit | None:
        if not self.nonfinite:
            return None
        training = evaluation.train_loss
        if training is not None and not usable(training):
            return (
                "non-finite",
                f"the monitored value is {number(evaluation.value)} and the training loss {number(training)}",
            )
        if self.nonfinite >= exits.nonfinite:
            return "non-finite", f"the monitored value was not finite {self.nonfinite} times in a row"
        return None

    def _target(self, exits: Exits, evaluation: Evaluation) -> Exit | None:
        if not exits.stop_at_target or exits.target is None or self.reached < exits.target_times:
            return None
        held = f"{self.reached} evaluations in a row"
        return "target", f"the target {exits.target:.4g} is reached and held for {held}, now {evaluation.value:.4g}"

    def _collapse(self, exits: Exits, tracks: Tracks, evaluation: Evaluation) -> Exit | None:
        if self.collapsed < exits.collapse_times:
            return None
        first = -tracks.value.first if tracks.lower_is_better else tracks.value.first
        where = f"{evaluation.value:.4g} is back near the first value, {first:.4g}, and so is the training loss"
        return "collapse", f"{where}, for {self.collapsed} evaluations in a row"

    def _worsened(self, exits: Exits, evaluation: Evaluation) -> Exit | None:
        if self.worse >= exits.worse_times:
            test = f"paired test, {p(evaluation.worse or 0.0)}, {self.worse} evaluations in a row"
            found = f"{evaluation.worse_by or 'validation'} is worse than at the best evaluation ({test})"
        elif self.risen >= exits.rise_times:
            noise = f"by more than {exits.rise:g} times its noise, {self.risen} evaluations in a row"
            found = f"validation is worse than at its best ({noise})"
        else:
            return None
        return "worse", f"{found} while the training loss fell further"


def _lost(track: Track) -> bool:
    """Whether nine tenths of a gain that stood out of the noise are lost."""
    if track.count < 3 or track.gain <= 10.0 * track.noise():
        return False
    return track.recent[-1] - track.first <= 0.1 * track.gain


def _risen(exits: Exits, tracks: Tracks) -> bool:
    """Whether the recent values are worse than the best by far more than noise, while training makes new lows."""
    value, train = tracks.value, tracks.train_loss
    if value.count < 8 or value.wait < 5 or train.count < 8 or train.wait > 1:
        return False
    return value.best - value.averages[1] > exits.rise * value.noise()


def _reaches(exits: Exits, tracks: Tracks, evaluation: Evaluation) -> bool:
    if exits.target is None:
        return False
    return evaluation.value <= exits.target if tracks.lower_is_better else evaluation.value >= exits.target
