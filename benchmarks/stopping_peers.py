"""Stopping rules in use elsewhere, re-stated as they ship: each takes a recorded run and says how many evaluations run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from benchmarks.recorded_curves import Curve

Rule = Callable[[Curve], int]

STRIP = 5
"""Training strip of Prechelt's rules, in evaluations."""


def patience(wait: int) -> Rule:
    """Lightning's ``EarlyStopping(patience=wait, min_delta=0)``: stop after ``wait`` evaluations without a new best."""

    def rule(curve: Curve) -> int:
        since, best = 0, -math.inf
        for i, value in enumerate(curve.values):
            since = 0 if value > best else since + 1
            best = max(best, value)
            if since >= wait:
                return i + 1
        return len(curve)

    return rule


def optuna_patient(wait: int) -> Rule:
    """Optuna's ``PatientPruner(None, patience=wait)``: the last ``wait + 1`` values are all worse than the best before."""

    def rule(curve: Curve) -> int:
        for i in range(wait + 2, len(curve) + 1):
            if curve.values[: i - wait - 1].max() > curve.values[i - wait - 1 : i].max():
                return i
        return len(curve)

    return rule


def ray_plateau(std: float = 0.01, results: int = 4, grace: int = 4) -> Rule:
    """Ray Tune's ``TrialPlateauStopper``: the standard deviation of the last values is below ``std``."""

    def rule(curve: Curve) -> int:
        for i in range(max(results, grace), len(curve) + 1):
            if np.std(curve.raw[i - results : i]) < std:
                return i
        return len(curve)

    return rule


def errors(curve: Curve) -> np.ndarray:
    """The series as a positive error, which Prechelt's rules need: 1 - value for shares, 100 - value for percentages."""
    raw = np.array(curve.raw)
    if curve.mode == "min":
        return raw
    return (1.0 if np.nanmax(raw) <= 1.0 else 100.0) - raw


def generalisation_loss(curve: Curve) -> np.ndarray:
    """Prechelt's GL: 100 * (error / lowest error so far - 1)."""
    error = errors(curve)
    with np.errstate(divide="ignore", invalid="ignore"):
        return 100.0 * (error / np.fmin.accumulate(error) - 1.0)


def gl(limit: float) -> Rule:
    """Prechelt (1998), GL(limit)."""

    def rule(curve: Curve) -> int:
        above = np.flatnonzero(generalisation_loss(curve) > limit)
        return int(above[0]) + 1 if len(above) else len(curve)

    return rule


def pq(limit: float) -> Rule:
    """Prechelt (1998), PQ(limit): GL over the progress of training in the last strip; never stops without training loss."""

    def rule(curve: Curve) -> int:
        training = curve.data["series"].get("train_loss")
        if training is None:
            return len(curve)
        loss = generalisation_loss(curve)
        for end in _strips(len(curve)):
            strip = np.array(training[end - STRIP : end], dtype=float)
            progress = 1000.0 * (strip.mean() / strip.min() - 1.0)
            if progress > 0 and loss[end - 1] / progress > limit:
                return end
        return len(curve)

    return rule


def up(times: int) -> Rule:
    """Prechelt (1998), UP(times): the error at the ends of strips rose ``times`` times in a row."""

    def rule(curve: Curve) -> int:
        error, rises = errors(curve), 0
        for before, end in pairwise(_strips(len(curve))):
            rises = rises + 1 if error[end - 1] > error[before - 1] else 0
            if rises >= times:
                return end
        return len(curve)

    return rule


def _strips(length: int) -> Iterator[int]:
    return iter(range(STRIP, length + 1, STRIP))


PEERS: dict[str, Rule] = {
    **{f"patience {k}": patience(k) for k in (3, 5, 10, 15, 20, 30, 40, 60)},
    "Prechelt GL(5)": gl(5.0),
    "Prechelt PQ(0.5)": pq(0.5),
    "Prechelt UP(3)": up(3),
    **{f"Optuna PatientPruner({k})": optuna_patient(k) for k in (5, 10, 20)},
    "Ray TrialPlateauStopper": ray_plateau(),
}
"""The rules compared with, by name."""
