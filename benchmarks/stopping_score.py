"""The additive score of the stopping criterion and how it is fitted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from benchmarks.recorded_curves import Curve
from lightning_diag.stopping import StoppingCriterion
from lightning_diag.stopping.features import FEATURES


@dataclass(frozen=True)
class Options:
    """How the score is fitted.

    Attributes:
        price: shares of a run that one share of missed gain costs: the exchange rate of the utility
            ``saved - price * missed``.
        softness: width of the soft stopping limit, in log-odds, that makes the utility smooth.
        likelihood: weight of the log-likelihood of "misses more than 5 %" beside the utility.
        ridge: penalty on the squared steps of the curves.
        knots: per curve; points: evaluations per run that are learnt from (the first ones, then evenly).
    """

    price: float = 8.0
    softness: float = 0.6
    likelihood: float = 0.1
    ridge: float = 0.02
    knots: int = 5
    points: int = 48


@dataclass(frozen=True)
class Sight:
    """The facts of one run at each evaluation, shape (evaluations, facts), and the missed gain, shape (evaluations,).

    ``weight`` is 1 for a recorded run and less for a variant of one.
    """

    curve: Curve
    facts: np.ndarray
    missed: np.ndarray
    weight: float = 1.0


def sights(curves: Sequence[Curve], *, planned: bool, weight: float = 1.0) -> list[Sight]:
    """What the criterion sees of each run, by its own code."""
    return [Sight(c, _facts(c, planned=planned), c.missed, weight) for c in curves]


def _facts(curve: Curve, *, planned: bool) -> np.ndarray:
    criterion = StoppingCriterion(curve.mode, planned=curve.planned if planned else None, models=())
    rows = []
    for evaluation in curve.evaluations():
        criterion.record(evaluation)
        view = criterion.view() if criterion.ready else None
        rows.append([fact(view) if view else math.nan for fact in FEATURES.values()])
    return np.array(rows)


@dataclass(frozen=True)
class Score:
    """An additive score: knots and steps between them per fact, a value where it is missing, an intercept."""

    names: tuple[str, ...]
    knots: tuple[np.ndarray, ...]
    steps: tuple[np.ndarray, ...]
    missing: tuple[float, ...]
    intercept: float

    def __call__(self, facts: np.ndarray) -> np.ndarray:
        """The score of each row of ``facts``."""
        weights = np.concatenate([np.r_[m, s] for m, s in zip(self.missing, self.steps, strict=True)])
        columns = [list(FEATURES).index(name) for name in self.names]
        return _basis(facts[:, columns], self.knots) @ weights + self.intercept

    def curves(self, facts: np.ndarray, weights: np.ndarray) -> tuple[dict[str, Any], float]:
        """JSON of the curves, centred on the rows of ``facts``, and the intercept that goes with them."""
        curves: dict[str, Any] = {}
        intercept = self.intercept
        for name, knots, steps, missing in zip(self.names, self.knots, self.steps, self.missing, strict=True):
            column = facts[:, list(FEATURES).index(name)]
            values = np.r_[0.0, np.cumsum(steps)]
            at = np.where(np.isfinite(column), np.interp(column, knots, values), missing)
            mean = float(np.average(at, weights=weights))
            intercept += mean
            curves[name] = {
                "knots": [round(float(k), 5) for k in knots],
                "values": [round(float(v - mean), 4) for v in values],
                "missing": round(missing - mean, 4),
            }
        return curves, round(intercept, 5)


def _basis(columns: np.ndarray, knots: Sequence[np.ndarray]) -> np.ndarray:
    """Per fact: whether it is missing, then how far it has come between each pair of knots (0 to 1)."""
    parts = []
    for x, at in zip(columns.T, knots, strict=True):
        gone = ~np.isfinite(x)
        parts.append(gone.astype(float))
        for low, high in pairwise(at):
            parts.append(np.where(gone, 0.0, (np.clip(x, low, high) - low) / (high - low)))
    return np.stack(parts, axis=1)


def _thinned(length: int, points: int) -> np.ndarray:
    if length <= points:
        return np.arange(length)
    return np.unique(np.r_[:8, np.linspace(8, length - 1, points - 8).round().astype(int)])


def fit_score(runs: Sequence[Sight], names: Sequence[str], options: Options) -> Score:
    """Fit the score on ``runs``, by their weights: utility of a soft stopping rule, likelihood, ridge."""
    columns = [list(FEATURES).index(name) for name in names]
    kept = [_thinned(len(run.missed), options.points) for run in runs]
    facts = np.concatenate([run.facts[np.ix_(k, columns)] for run, k in zip(runs, kept, strict=True)])
    knots = [_quantiles(column, options.knots) for column in facts.T]
    basis = torch.tensor(_basis(facts, knots), dtype=torch.float32)
    weights = torch.zeros(basis.shape[1], requires_grad=True)
    offsets = torch.tensor([-1.0, -1.5], requires_grad=True)  # intercept, stopping limit
    objective = _objective(runs, kept, options)
    optimiser = torch.optim.LBFGS(
        [weights, offsets], max_iter=60, history_size=15, line_search_fn="strong_wolfe", tolerance_change=1e-6
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = objective(basis @ weights + offsets[0], offsets[1]) + options.ridge * (weights**2).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return _score(names, knots, weights.detach().double().numpy(), float(offsets[0].detach()))


def _quantiles(column: np.ndarray, count: int) -> np.ndarray:
    finite = column[np.isfinite(column)]
    return np.unique(np.quantile(finite, np.linspace(0.03, 0.97, count)).round(5)) if len(finite) else np.zeros(1)


def _score(names: Sequence[str], knots: Sequence[np.ndarray], weights: np.ndarray, intercept: float) -> Score:
    missing, steps, place = [], [], 0
    for at in knots:
        missing.append(float(weights[place]))
        steps.append(weights[place + 1 : place + len(at)])
        place += len(at)
    return Score(tuple(names), tuple(knots), tuple(steps), tuple(missing), intercept)


def _objective(
    runs: Sequence[Sight], kept: Sequence[np.ndarray], options: Options
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Loss of scores (one per kept evaluation) and a limit: minus utility plus weighted cross entropy, weighted mean over runs."""
    width = max(len(k) for k in kept)
    places, saved, missed = (np.zeros((len(runs), width)) for _ in range(3))
    inside, may = (np.zeros((len(runs), width), dtype=bool) for _ in range(2))
    start = 0
    for row, (run, k) in enumerate(zip(runs, kept, strict=True)):
        n = len(k)
        places[row, :n] = np.arange(start, start + n)
        saved[row, :n] = 1.0 - (k + 1) / len(run.missed)
        missed[row, :n] = run.missed[k]
        inside[row, :n], may[row, :n] = True, k >= 2
        start += n
    index = torch.tensor(places, dtype=torch.long)
    utility = torch.tensor(saved - options.price * missed, dtype=torch.float32)
    late = torch.tensor(missed > 0.05, dtype=torch.float32)
    weight = np.array([run.weight for run in runs])
    weight /= weight.sum()
    share = torch.tensor(weight[:, None] * inside / inside.sum(1, keepdims=True), dtype=torch.float32)
    mass = torch.tensor(weight[:, None], dtype=torch.float32)
    allowed = torch.tensor(may)

    def loss(score: torch.Tensor, limit: torch.Tensor) -> torch.Tensor:
        at = score[index]
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(at, late, reduction="none")
        margin = torch.where(allowed, (limit - at) / options.softness, -30.0)
        survived = torch.cumsum(-torch.nn.functional.softplus(margin), dim=1)
        before = torch.cat([torch.zeros(len(runs), 1), survived[:, :-1]], dim=1).exp()
        gained = (mass * before * torch.sigmoid(margin) * utility).sum()
        return options.likelihood * (entropy * share).sum() - gained

    return loss
