"""Do two samples come from one distribution: standardised means, a permutation test, a linear classifier.

Plain numpy with a fixed seed: the same samples give the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ROWS = 400
"""Samples per side: enough to see a mean that is off by 0.2 standard deviations in a single feature."""
SMALLEST = 15
"""Fewer samples on a side say too little."""
PERMUTATIONS = 499
FOLDS = 3
RIDGE = 1.0
"""Penalty per sample on standardised features: with as many features as samples the classifier stays near the
difference of the means."""

Floats = npt.NDArray[np.float64]
AnyFloats = npt.NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class Shift:
    """How two samples differ.

    Attributes:
        smd: mean absolute standardised difference of feature means and of feature magnitudes.
        pvalue: of a permutation test of the mean squared difference.
        auc: area under the ROC of a linear classifier on held-out samples (0.5 = cannot tell).
        rows: samples per side that were compared.
    """

    smd: float
    pvalue: float
    auc: float
    rows: tuple[int, int]


def compare(first: AnyFloats, second: AnyFloats, *, seed: int = 0) -> Shift | None:
    """Compare two samples of the same features.

    Each feature is standardised by the pooled sample; its magnitude is added as a second feature, so that a change of
    scale shows as well. Measured at 2 x 400 x 256: 0.1 s on one core.

    Args:
        first: (samples, features).
        second: (samples, features).
        seed: of the choice of samples, permutations and folds.

    Returns:
        None with fewer than :data:`SMALLEST` samples on a side, without a varying feature, or with other features.
    """
    if first.ndim != 2 or second.ndim != 2 or first.shape[1:] != second.shape[1:]:
        return None
    rng = np.random.default_rng(seed)
    a, b = (_choose(side, rng) for side in (first, second))
    if min(len(a), len(b)) < SMALLEST:
        return None
    x = _standardised(np.concatenate([a, b]))
    if not x.shape[1]:
        return None
    is_second = np.arange(len(x)) >= len(a)
    gap = _gaps(x, is_second[None, :].astype(float))[0]
    return Shift(
        smd=float(np.abs(gap).mean()),
        pvalue=_permutation_pvalue(x, is_second, gap, rng),
        auc=_held_out_auc(x, is_second, rng),
        rows=(len(a), len(b)),
    )


def _choose(rows: AnyFloats, rng: np.random.Generator) -> Floats:
    usable = np.asarray(rows, np.float64)
    usable = usable[np.isfinite(usable).all(1)] if usable.size else usable[:0]
    if len(usable) > ROWS:
        usable = usable[np.sort(rng.choice(len(usable), ROWS, replace=False))]
    return usable


def _standardised(x: Floats) -> Floats:
    """Standardised features and their standardised magnitudes; features that hardly vary are left out."""
    spread = x.std(0)
    keep = spread > 1e-9 * max(1.0, float(np.abs(x).max(initial=0)))
    x = (x[:, keep] - x[:, keep].mean(0)) / spread[keep]
    size = np.abs(x)
    deviation = size.std(0)
    varies = deviation > 1e-6
    both: Floats = np.concatenate([x, (size[:, varies] - size[:, varies].mean(0)) / deviation[varies]], axis=1)
    return both


def _gaps(x: Floats, masks: Floats) -> Floats:
    """Difference of the feature means for each mask of the second sample, (masks, features)."""
    n = masks.sum(1, keepdims=True)
    second = masks @ x
    gaps: Floats = second / n - (x.sum(0) - second) / (len(x) - n)
    return gaps


def _permutation_pvalue(x: Floats, is_second: npt.NDArray[np.bool_], gap: Floats, rng: np.random.Generator) -> float:
    masks = np.stack([rng.permutation(is_second) for _ in range(PERMUTATIONS)]).astype(float)
    under_null = np.square(_gaps(x, masks)).sum(1)
    return float((1 + np.count_nonzero(under_null >= np.square(gap).sum())) / (1 + PERMUTATIONS))


def _held_out_auc(x: Floats, is_second: npt.NDArray[np.bool_], rng: np.random.Generator) -> float:
    """Mean area under the ROC over stratified folds of a ridge classifier."""
    fold = np.empty(len(x), int)
    for side in (is_second, ~is_second):
        fold[side] = rng.permutation(np.count_nonzero(side)) % FOLDS
    areas = []
    for held in range(FOLDS):
        train = fold != held
        score = x[~train] @ _ridge(x[train], is_second[train])
        areas.append(_auc(score, is_second[~train]))
    return float(np.mean(areas))


def _ridge(x: Floats, is_second: npt.NDArray[np.bool_]) -> Floats:
    """Weights of a ridge regression on balanced +-1 labels, in the smaller of the two equivalent forms."""
    y = np.where(is_second, 1 / np.count_nonzero(is_second), -1 / np.count_nonzero(~is_second)) * len(x) / 2
    penalty = RIDGE * len(x)
    if x.shape[1] <= len(x):
        weights: Floats = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)
        return weights
    dual: Floats = x.T @ np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), y)
    return dual


def _auc(score: Floats, positive: npt.NDArray[np.bool_]) -> float:
    """Probability that a positive scores higher than a negative, ties half (Mann-Whitney)."""
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    n = np.count_nonzero(positive)
    return float((rank[positive].sum() - n * (n + 1) / 2) / (n * (len(score) - n)))


NEAR_SHARE = 0.01
"""Share of independent samples that lie nearer to the training set than 99 in 100 training samples do."""


def near_copies(train: AnyFloats, val: AnyFloats) -> tuple[int, int] | None:
    """(k, n): validation samples much nearer to a training sample than training samples are to each other.

    Much nearer means below half of the distance that only :data:`NEAR_SHARE` of the training samples fall below with
    their nearest neighbour. Without copies fewer than that share of validation samples do. Exact copies count too.

    Args:
        train: (samples, features) kept of the training set; validation samples whose original was not kept are missed.
        val: (samples, features).
    """
    if train.ndim != 2 or train.shape[1:] != val.shape[1:] or min(len(train), len(val)) < SMALLEST:
        return None
    a, b = (np.asarray(s, np.float32)[np.isfinite(s).all(1)] for s in (train, val))
    b = b[:: max(1, -(-len(b) // ROWS))]
    probe = np.arange(0, len(a), max(1, -(-len(a) // ROWS)))
    if min(len(a), len(b)) < SMALLEST:
        return None
    within = _squared(a[probe], a)
    within[np.arange(len(probe)), probe] = np.inf
    limit = 0.25 * np.quantile(within.min(1), NEAR_SHARE)
    if limit <= 0:  # copies within the training set: distances tell nothing
        return None
    return int(np.count_nonzero(_squared(b, a).min(1) < limit)), len(b)


def _squared(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> Floats:
    """Squared distances; the expansion leaves rounding errors, which the clip keeps from going below zero."""
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    cross = a64 @ b64.T
    squared: Floats = np.maximum(np.square(a64).sum(1)[:, None] + np.square(b64).sum(1)[None] - 2 * cross, 0.0)
    return squared
