"""Fit the coefficients of the stopping criterion on recorded runs and write them with their calibration curve.

    python -m benchmarks.fit_stopping --curves ../shared/curves

Only uncensored runs are learnt from, each with equal weight; every figure printed is cross-validated by repository.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.recorded_curves import Curve, load, variants
from benchmarks.stopping_score import Options, Score, Sight, fit_score, sights
from lightning_diag.stopping.features import FEATURES
from lightning_diag.stopping.model import Model

TARGET = Path(__file__).parents[1] / "lightning_diag" / "stopping" / "coefficients.json"
FOLDS = 20
VARIANT_WEIGHT = 0.5
SEED = 0
MISSED = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75)
"""Shares of the gain at which the outlook is tabulated."""
LIMITS = (0.0025, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.07, 0.1, 0.15, 0.2)
"""Mean missed gains for which a stopping limit is kept."""
PLAN_FACTS = frozenset(
    {
        "planned",
        "progress",
        "wait of rest",
        "stalled within 1 % of rest",
        "stalled within 5 % of rest",
        "by doubling",
        "by decay",
        "extrapolated from 12",
        "extrapolated from 30",
    }
)
"""Facts that need a planned end."""


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


def outlook(scores: Sequence[np.ndarray], runs: Sequence[Sight], bins: int = 8) -> dict[str, Any]:
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
    """Mean saved and missed shares over a range of limits, over runs and as mean of the repositories' means.

    ``bound`` is a one-sided 95 % bound of the mean missed share, by resampling repositories.
    """
    limits = np.quantile(np.concatenate(scores), np.linspace(0.003, 0.9, 300))
    ran = np.stack([stops(score, limits) for score in scores])
    saved = 1.0 - ran / np.array([len(score) for score in scores])[:, None]
    missed = np.stack([run.missed[k - 1] for run, k in zip(runs, ran, strict=True)])
    saved_sums, missed_sums, counts = (_by_repo(x, runs) for x in (saved, missed, np.ones((len(runs), 1))))
    return {
        "limit": limits,
        "saved": saved.mean(0),
        "missed": missed.mean(0),
        "bound": missed.mean(0) + 1.645 * _spread(missed_sums, counts),
        "saved_by_repo": (saved_sums / counts).mean(0),
        "missed_by_repo": (missed_sums / counts).mean(0),
    }


def _by_repo(values: np.ndarray, runs: Sequence[Sight]) -> np.ndarray:
    """Sums over the runs of each repository, shape (repositories, ...)."""
    repo = _repo_numbers(runs)
    return np.stack([values[repo == r].sum(0) for r in range(repo.max() + 1)])


def _spread(sums: np.ndarray, counts: np.ndarray, draws: int = 200) -> np.ndarray:
    """Standard error of the mean over runs when repositories are drawn anew."""
    rng = np.random.default_rng(SEED)
    drawn = [rng.integers(0, len(sums), len(sums)) for _ in range(draws)]
    return np.std([sums[d].sum(0) / counts[d].sum(0) for d in drawn], axis=0)


def limits(scores: Sequence[np.ndarray], runs: Sequence[Sight]) -> list[tuple[float, float]]:
    """(mean missed gain, highest limit whose bound keeps to it) for each of :data:`LIMITS`."""
    line = frontier(scores, runs)
    bound = np.maximum.accumulate(line["bound"])
    kept = [int(np.searchsorted(bound, share, side="right")) - 1 for share in LIMITS]
    return [(share, round(float(line["limit"][max(k, 0)]), 4)) for share, k in zip(LIMITS, kept, strict=True)]


@dataclass(frozen=True)
class CrossFit:
    """Scores of every run by a model that saw nothing of its repository, and that model per fold."""

    scores: list[np.ndarray]
    models: dict[int, Model]
    fold: dict[str, int]


def cross_fit(runs: Sequence[Sight], more: Sequence[Sight], names: Sequence[str], options: Options) -> CrossFit:
    """Fit once per fold on ``runs`` and ``more``; outlook and limits come from the other folds' held-out scores of ``runs``."""
    fold = folds([run.curve.repo for run in runs])
    where = np.array([fold[run.curve.repo] for run in runs])
    scores: list[np.ndarray] = [np.zeros(0)] * len(runs)
    fitted = {}
    for k in sorted(set(where)):
        fitted[k] = fit_score([run for run in (*runs, *more) if fold[run.curve.repo] != k], names, options)
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


@dataclass(frozen=True)
class Study:
    """What is learnt from: recorded runs, variants of them, the facts in use."""

    runs: list[Sight]
    more: list[Sight]
    names: tuple[str, ...]

    @classmethod
    def of(cls, curves: Sequence[Curve], *, planned: bool) -> Study:
        """The uncensored ``curves``, seen with or without a planned end."""
        kept = [curve for curve in curves if not curve.censored]
        rng = np.random.default_rng(SEED)
        more = [variant for curve in kept for variant in variants(curve, rng)]
        names = tuple(name for name in FEATURES if planned or name not in PLAN_FACTS)
        return cls(sights(kept, planned=planned), sights(more, planned=planned, weight=VARIANT_WEIGHT), names)

    def cross_fit(self) -> CrossFit:
        """Cross-validation by repository."""
        return cross_fit(self.runs, self.more, self.names, Options())

    def shipped(self, fit: CrossFit) -> dict[str, Any]:
        """The model fitted on everything, with outlook, limits and calibration from held-out scores."""
        score = fit_score([*self.runs, *self.more], self.names, Options())
        return {**assemble(score, fit.scores, self.runs), "calibration": calibration(fit, self.runs)}


def cross_validated(curves: Sequence[Curve]) -> dict[str, tuple[Model, Model]]:
    """Per repository the models (planned, open) fitted without it; censored runs are learnt from by none."""
    fits = [Study.of(curves, planned=planned).cross_fit() for planned in (True, False)]
    return {repo: _models(fits, repo) for repo in {curve.repo for curve in curves}}


def _models(fits: Sequence[CrossFit], repo: str) -> tuple[Model, Model]:
    """A repository with censored runs only was learnt from by no fold, so that any will do."""
    planned, unplanned = (fit.models[fit.fold.get(repo, 0)] for fit in fits)
    return planned, unplanned


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, default=Path("../shared/curves"))
    parser.add_argument("--out", type=Path, default=TARGET)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    curves = load(args.curves)
    document: dict[str, Any] = {}
    for kind in ("planned", "open"):
        study = Study.of(curves, planned=kind == "planned")
        fit = study.cross_fit()
        document[kind] = study.shipped(fit)
        report(kind, document[kind]["calibration"], frontier(fit.scores, study.runs))
    args.out.write_text(json.dumps(document, separators=(",", ":")) + "\n", encoding="utf-8")
    print("wrote", args.out, "with", _numbers(document["planned"]["curves"]), "numbers in the planned curves")


def report(kind: str, calibrated: dict[str, Any], line: dict[str, np.ndarray]) -> None:
    """Print the calibration curve and the frontier."""
    print(f"{kind}: expected calibration error {calibrated['ece']:.4f}; probability said, seen, 95 % over repositories")
    for row in calibrated["deciles"]:
        print("  {said:6.3f} {seen:6.3f} [{low:.3f}, {high:.3f}]".format(**row))
    for share in (0.0175, 0.025, 0.05):
        best = line["saved"][line["missed"] <= share].max()
        by_repo = line["saved_by_repo"][line["missed_by_repo"] <= share].max()
        print(f"  missed <= {share:.2%}: saved {best:.1%}; by repository {by_repo:.1%}")


def _numbers(curves: dict[str, Any]) -> int:
    return sum(2 * len(curve["knots"]) + 1 for curve in curves.values())


if __name__ == "__main__":
    main()
