"""Fit the coefficients of the stopping criterion on recorded runs and write them with their calibration curve.

    python -m benchmarks.fit_stopping --curves ../shared/curves

Only uncensored runs are learnt from, each with equal weight; every figure printed is cross-validated by repository.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.recorded_curves import Curve, load
from lightning_diag.stopping import StoppingCriterion
from lightning_diag.stopping.features import FEATURES
from lightning_diag.stopping.model import Model

TARGET = Path(__file__).parents[1] / "lightning_diag" / "stopping" / "coefficients.json"
FOLDS = 10
SEED = 0
MISSED = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75)
"""Shares of the gain at which the outlook is tabulated."""
LIMITS = (0.0025, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.07, 0.1, 0.15, 0.2)
"""Mean missed gains for which a stopping limit is kept."""
PLAN_FACTS = frozenset(
    {"planned", "progress", "left", "wait of plan", "wait of rest", *(f"extrapolated from {k}" for k in (5, 12, 30))}
)
"""Facts that need a planned end."""


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

    price: float = 15.0
    softness: float = 0.7
    likelihood: float = 0.2
    ridge: float = 1e-2
    knots: int = 6
    points: int = 48


@dataclass(frozen=True)
class Sight:
    """The facts of one run at each evaluation, shape (evaluations, facts), and the missed gain, shape (evaluations,)."""

    curve: Curve
    facts: np.ndarray
    missed: np.ndarray


def sights(curves: Sequence[Curve], *, planned: bool) -> list[Sight]:
    """What the criterion sees of each run, by its own code."""
    return [Sight(c, _facts(c, planned=planned), c.missed) for c in curves]


def _facts(curve: Curve, *, planned: bool) -> np.ndarray:
    criterion = StoppingCriterion(curve.mode, planned=curve.planned if planned else None, models=())
    rows = []
    for evaluation in curve.evaluations():
        criterion.record(evaluation)
        view = criterion.view() if criterion.ready else None
        rows.append([fact(view) if view else math.nan for fact in FEATURES.values()])
    return np.array(rows)


# ---------------------------------------------------------------------------------------------------- score


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
        for low, high in itertools.pairwise(at):
            parts.append(np.where(gone, 0.0, (np.clip(x, low, high) - low) / (high - low)))
    return np.stack(parts, axis=1)


def _thinned(length: int, points: int) -> np.ndarray:
    if length <= points:
        return np.arange(length)
    return np.unique(np.r_[:8, np.linspace(8, length - 1, points - 8).round().astype(int)])


def fit_score(runs: Sequence[Sight], names: Sequence[str], options: Options) -> Score:
    """Fit the score on ``runs``, each with equal weight: utility of a soft stopping rule, likelihood, ridge."""
    columns = [list(FEATURES).index(name) for name in names]
    kept = [_thinned(len(run.missed), options.points) for run in runs]
    facts = np.concatenate([run.facts[np.ix_(k, columns)] for run, k in zip(runs, kept, strict=True)])
    knots = [_quantiles(column, options.knots) for column in facts.T]
    basis = torch.tensor(_basis(facts, knots), dtype=torch.float32)
    weights = torch.zeros(basis.shape[1], requires_grad=True)
    offsets = torch.tensor([-1.0, -2.2], requires_grad=True)  # intercept, stopping limit
    objective = _objective(runs, kept, options)
    optimiser = torch.optim.LBFGS(
        [weights, offsets], max_iter=100, history_size=15, line_search_fn="strong_wolfe", tolerance_change=1e-6
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
    """Loss of scores (one per kept evaluation) and a limit: minus utility plus weighted cross entropy, mean over runs."""
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
    share = torch.tensor(inside / inside.sum(1, keepdims=True) / len(runs), dtype=torch.float32)
    allowed = torch.tensor(may)

    def loss(score: torch.Tensor, limit: torch.Tensor) -> torch.Tensor:
        at = score[index]
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(at, late, reduction="none")
        margin = torch.where(allowed, (limit - at) / options.softness, -30.0)
        survived = torch.cumsum(-torch.nn.functional.softplus(margin), dim=1)
        before = torch.cat([torch.zeros(len(runs), 1), survived[:, :-1]], dim=1).exp()
        gained = (before * torch.sigmoid(margin) * utility).sum() / len(runs)
        return options.likelihood * (entropy * share).sum() - gained

    return loss


# -------------------------------------------------------------------------------- cross-validation, outlook


def folds(repos: Sequence[str], count: int = FOLDS, seed: int = SEED) -> dict[str, int]:
    """Repository -> fold, folds of about equal numbers of runs."""
    names, sizes = np.unique(repos, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    filled = np.zeros(count)
    fold = {}
    for i in sorted(order, key=lambda i: -sizes[i]):
        fold[str(names[i])] = int(np.argmin(filled))
        filled[np.argmin(filled)] += sizes[i]
    return fold


def monotone(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted least-squares non-decreasing fit (pool adjacent violators)."""
    blocks: list[list[float]] = []
    for value, weight in zip(values, weights, strict=True):
        blocks.append([float(value), float(weight), 1.0])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, v, m), (b, w, n) = blocks[-2], blocks[-1]
            blocks[-2:] = [[(a * v + b * w) / (v + w), v + w, m + n]]
    return np.concatenate([np.full(int(n), value) for value, _, n in blocks])


def outlook(scores: Sequence[np.ndarray], runs: Sequence[Sight], bins: int = 14) -> dict[str, Any]:
    """Table of how often stopping misses more than each of :data:`MISSED`, over the score; every run weighs the same."""
    weights = np.concatenate([np.full(len(s), 1.0 / len(s)) for s in scores])
    score, missed = np.concatenate(scores), np.concatenate([run.missed for run in runs])
    order = np.argsort(score, kind="stable")
    cumulated = np.cumsum(weights[order])
    group = np.minimum((cumulated / cumulated[-1] * bins).astype(int), bins - 1)
    rows, centres, mass = [], [], []
    for b in range(bins):
        chosen = order[group == b]
        centres.append(np.average(score[chosen], weights=weights[chosen]))
        rows.append([np.average(missed[chosen] > m, weights=weights[chosen]) for m in MISSED])
        mass.append(weights[chosen].sum())
    table = np.stack([monotone(column, np.array(mass)) for column in np.array(rows).T], axis=1)
    return {
        "missed": list(MISSED),
        "scores": [round(float(c), 4) for c in centres],
        "table": [[round(float(p), 4) for p in row] for row in table],
    }


def stops(score: np.ndarray, limits: np.ndarray, least: int = 3) -> np.ndarray:
    """Evaluations that run until the score first falls below each limit (from the third on)."""
    lowest = np.minimum.accumulate(np.r_[np.full(least - 1, np.inf), score[least - 1 :]])
    first = np.searchsorted(-lowest, -limits, side="right") + 1
    return np.minimum(first, len(score))


def frontier(scores: Sequence[np.ndarray], runs: Sequence[Sight]) -> dict[str, np.ndarray]:
    """Mean saved and missed shares over a range of limits, over runs and as mean of the repositories' means."""
    limits = np.quantile(np.concatenate(scores), np.linspace(0.003, 0.9, 300))
    ran = np.stack([stops(score, limits) for score in scores])
    saved = 1.0 - ran / np.array([len(score) for score in scores])[:, None]
    missed = np.stack([run.missed[k - 1] for run, k in zip(runs, ran, strict=True)])
    repos = np.array([run.curve.repo for run in runs])
    by_repo = np.stack([missed[repos == repo].mean(0) for repo in np.unique(repos)]).mean(0)
    return {"limit": limits, "saved": saved.mean(0), "missed": missed.mean(0), "by_repo": by_repo}


def limits(scores: Sequence[np.ndarray], runs: Sequence[Sight]) -> list[tuple[float, float]]:
    """(mean missed gain, highest limit that keeps to it) for each of :data:`LIMITS`."""
    line = frontier(scores, runs)
    kept = []
    for share in LIMITS:
        good = line["limit"][line["missed"] <= share]
        kept.append((share, round(float(good.max() if len(good) else line["limit"].min()), 4)))
    return kept


@dataclass(frozen=True)
class CrossFit:
    """Scores of every run by a model that saw nothing of its repository, and that model per fold."""

    scores: list[np.ndarray]
    models: dict[int, Model]
    fold: dict[str, int]


def cross_fit(
    runs: Sequence[Sight], names: Sequence[str], options: Options, fold: dict[str, int] | None = None
) -> CrossFit:
    """Fit once per fold; outlook and limits of a fold come from the other folds' held-out scores."""
    fold = fold or folds([run.curve.repo for run in runs])
    where = np.array([fold[run.curve.repo] for run in runs])
    scores: list[np.ndarray] = [np.zeros(0)] * len(runs)
    fitted = {}
    for k in sorted(set(where)):
        fitted[k] = fit_score([run for run, w in zip(runs, where, strict=True) if w != k], names, options)
        for i in np.flatnonzero(where == k):
            scores[i] = fitted[k](runs[i].facts)
    models = {}
    for k, score in fitted.items():
        rest = np.flatnonzero(where != k)
        models[int(k)] = Model.from_json(assemble(score, [scores[i] for i in rest], [runs[i] for i in rest]))
    return CrossFit(scores, models, fold)


def assemble(score: Score, held_out: Sequence[np.ndarray], runs: Sequence[Sight]) -> dict[str, Any]:
    """The JSON of a model: curves of ``score``, outlook and limits from held-out scores."""
    weights = np.concatenate([np.full(len(run.missed), 1.0 / len(run.missed)) for run in runs])
    curves, intercept = score.curves(np.concatenate([run.facts for run in runs]), weights)
    return {"intercept": intercept, "curves": curves, **outlook(held_out, runs), "limits": limits(held_out, runs)}


# ---------------------------------------------------------------------------------------------- calibration


def calibration(fit: CrossFit, runs: Sequence[Sight], share: float = 0.05, draws: int = 500) -> dict[str, Any]:
    """Expected calibration error and deciles of the held-out probability of missing more than ``share``."""
    said = [
        np.array([fit.models[fit.fold[run.curve.repo]].outlook(s).probability(share) for s in score])
        for run, score in zip(runs, fit.scores, strict=True)
    ]
    weight = np.concatenate([np.full(len(p), 1.0 / len(p)) for p in said])
    repo = np.concatenate([np.full(len(p), i) for p, i in zip(said, _repo_numbers(runs), strict=True)])
    p, y = np.concatenate(said), np.concatenate([run.missed > share for run in runs]).astype(float)
    order = np.argsort(p, kind="stable")
    cumulated = np.cumsum(weight[order])
    decile = np.empty(len(p), dtype=int)
    decile[order] = np.minimum((cumulated / cumulated[-1] * 10).astype(int), 9)
    sums = np.zeros((repo.max() + 1, 10, 3))
    for column, amount in enumerate((weight, weight * p, weight * y)):
        np.add.at(sums[:, :, column], (repo, decile), amount)
    return {"ece": round(_ece(sums.sum(0)), 4), "deciles": _deciles(sums, draws)}


def _repo_numbers(runs: Sequence[Sight]) -> np.ndarray:
    return np.unique([run.curve.repo for run in runs], return_inverse=True)[1]


def _ece(sums: np.ndarray) -> float:
    """Sum over deciles of |said - seen|, weighted by their mass; ``sums`` has rows (mass, said, seen)."""
    return float(np.abs(sums[:, 1] - sums[:, 2]).sum() / sums[:, 0].sum())


def _deciles(sums: np.ndarray, draws: int) -> list[dict[str, float]]:
    rng = np.random.default_rng(SEED)
    drawn = np.stack([sums[rng.integers(0, len(sums), len(sums))].sum(0) for _ in range(draws)])
    seen = drawn[:, :, 2] / np.maximum(drawn[:, :, 0], 1e-12)
    low, high = np.quantile(seen, [0.025, 0.975], axis=0)
    total = sums.sum(0)
    return [
        {"said": round(s / m, 4), "seen": round(o / m, 4), "low": round(float(a), 4), "high": round(float(b), 4)}
        for (m, s, o), a, b in zip(total.tolist(), low, high, strict=True)
    ]


# ------------------------------------------------------------------------------------------------------ main


def fitted(curves: Sequence[Curve], *, planned: bool) -> tuple[dict[str, Any], CrossFit, list[Sight]]:
    """The shipped model of one kind, its cross-validation and the runs it rests on."""
    runs = sights(curves, planned=planned)
    names = NAMES if planned else tuple(name for name in NAMES if name not in PLAN_FACTS)
    options = Options()
    fit = cross_fit(runs, names, options)
    data = assemble(fit_score(runs, names, options), fit.scores, runs)
    data["calibration"] = calibration(fit, runs)
    return data, fit, runs


NAMES = tuple(FEATURES)
"""The facts in use."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, default=Path("../shared/curves"))
    parser.add_argument("--out", type=Path, default=TARGET)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    curves = [curve for curve in load(args.curves) if not curve.censored]
    document: dict[str, Any] = {"runs": len(curves), "repositories": len({curve.repo for curve in curves})}
    for kind in ("planned", "open"):
        document[kind], fit, runs = fitted(curves, planned=kind == "planned")
        print(kind, "ECE", document[kind]["calibration"]["ece"])
        for row in document[kind]["calibration"]["deciles"]:
            print("  said {said:6.3f}  seen {seen:6.3f}  [{low:.3f}, {high:.3f}]".format(**row))
        line = frontier(fit.scores, runs)
        for share in (0.017, 0.025, 0.05):
            print(f"  missed <= {share:.1%}: saved {line['saved'][line['missed'] <= share].max():.1%}")
    args.out.write_text(json.dumps(document, indent=None, separators=(",", ":")) + "\n", encoding="utf-8")
    print("wrote", args.out, "with", _numbers(document["planned"]["curves"]), "numbers in the curves")


def _numbers(curves: dict[str, Any]) -> int:
    return sum(2 * len(curve["knots"]) + 1 for curve in curves.values())


if __name__ == "__main__":
    main()
