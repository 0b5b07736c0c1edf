"""How sure can one be: intervals, exact tests, trends and noise for the small numbers of a training run.

Every function takes plain numbers or :class:`~lightning_diag.history.Count` and is deterministic. ``scipy`` is imported
inside the functions that need it, so that importing this module costs nothing; ``scipy.special`` where that is enough,
because ``scipy.stats`` takes longer to import than most runs to judge.

``docs/statistics.md`` explains each of them in plain words.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, median
from typing import Literal

from lightning_diag.history import Count
from lightning_diag.tails import at_least, drawn_as_rare, drawn_at_least, drawn_by_chance, poisson_at_least

_NORMAL = NormalDist()
CUSTOMARY = 0.05
"""p-value below which one planned comparison counts as established: the customary level."""
LARGE = 10**6
"""Samples beyond which an exact test of two proportions is approximated."""
STRETCHES = 400
"""Values of a series whose trend is taken from all pairs; a longer one is averaged over so many equal stretches."""
MAD_TO_SIGMA = 1.4826
"""A normal distribution's standard deviation over its median absolute deviation."""


@dataclass(frozen=True)
class Interval:
    """A range that holds the true value with the stated confidence (95 % unless asked otherwise)."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Trend:
    """Direction of a series.

    Attributes:
        slope: Theil-Sen slope, the median of all pairwise slopes, in units of the series per step of ``x``.
        p_value: two-sided p-value of the Mann-Kendall test that there is no monotone trend.
    """

    slope: float
    p_value: float


def quantile(confidence: float = 0.95) -> float:
    """Two-sided standard normal quantile (1.96 for 0.95)."""
    return _NORMAL.inv_cdf(0.5 + confidence / 2)


def wilson(count: Count, confidence: float = 0.95) -> Interval:
    """Wilson score interval of a proportion (Wilson 1927); (0, 1) when nothing was counted."""
    if count.n == 0:
        return Interval(0.0, 1.0)
    z, n, p = quantile(confidence), count.n, count.rate
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def difference(first: Count, second: Count, confidence: float = 0.95) -> Interval:
    """Interval of ``first.rate - second.rate`` for independent samples (Newcombe 1998, method 10: two Wilson scores)."""
    a, b = wilson(first, confidence), wilson(second, confidence)
    p, q = _rate(first), _rate(second)
    low = (p - q) - math.hypot(p - a.low, b.high - q)
    high = (p - q) + math.hypot(a.high - p, q - b.low)
    return Interval(low, high)


def _rate(count: Count) -> float:
    return count.rate if count.n else 0.5


def fisher(first: Count, second: Count) -> float:
    """Two-sided p-value of Fisher's exact test that two independent proportions are equal.

    Beyond :data:`LARGE` samples the normal approximation of the pooled test, which is then as good and cannot overflow.
    """
    if first.n + second.n > LARGE:
        return _pooled(first, second)
    return drawn_as_rare(first.n + second.n, first.k + second.k, first.n, first.k)


def _pooled(first: Count, second: Count) -> float:
    rate = (first.k + second.k) / (first.n + second.n)
    error = math.sqrt(rate * (1 - rate) * (1 / first.n + 1 / second.n)) if first.n and second.n else 0.0
    return 2 * _NORMAL.cdf(-abs(first.rate - second.rate) / error) if error else 1.0


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided exact McNemar p-value: of the samples whose answer changed, were gains and losses a coin toss."""
    return min(1.0, 2 * at_least(max(gained, lost), gained + lost, 0.5))


def binomial(count: Count, rate: float, alternative: Literal["greater", "less"]) -> float:
    """Exact one-sided binomial p-value of ``k of n`` if the true rate were ``rate``.

    Args:
        count: what was seen.
        rate: the rate under test, in [0, 1].
        alternative: ``greater`` (the true rate is higher) or ``less``.
    """
    if count.n == 0:
        return 1.0
    if alternative == "greater":
        return at_least(count.k, count.n, rate)
    return at_least(count.n - count.k, count.n, 1 - rate)


def association(rows: Sequence[tuple[int, int, int]], samples: int | None = None) -> float:
    """One-sided p-value that answers have nothing to do with labels, from (support, predicted, correct) of each class.

    For each class the exact hypergeometric probability of so many hits if its answers were dealt out at random; the
    smallest one, corrected for the number of classes (Šidák). Unlike a test of the accuracy against the share of the
    largest class it sees that a rare class is told apart, and a model that always gives the same answer never passes.
    ``samples`` is their number where it is not the sum of the supports, as with several labels per sample.
    """
    total = sum(support for support, _, _ in rows) if samples is None else samples
    open_classes = [(s, p, k) for s, p, k in rows if 0 < s < total and 0 < p < total]
    if not open_classes:
        return 1.0
    if total > LARGE:
        return corrected(min(drawn_by_chance(total, *row) for row in open_classes), len(open_classes))
    return corrected(min(drawn_at_least(total, *row) for row in open_classes), len(open_classes))


def kappa(rows: Sequence[tuple[int, int, int]]) -> float:
    """Cohen's kappa from (support, predicted, correct) of each class: 1 for perfect answers, 0 for chance."""
    total = sum(support for support, _, _ in rows)
    if not total:
        return 0.0
    agreed = sum(correct for _, _, correct in rows) / total
    expected = sum(support * predicted for support, predicted, _ in rows) / total**2
    return (agreed - expected) / (1 - expected) if expected < 1 else 0.0


def absent_by_chance(chances: Sequence[float], absent: Sequence[bool]) -> float:
    """p-value that so many of these, or one so improbable, are absent; 1 when none is.

    Two looks, corrected as such: how many are absent (Poisson, its mean the sum of the chances, an upper bound of the
    tail as long as one absence makes another less likely), and the most surprising one, against the chance that it or
    any that is as improbable is absent. Testing each against its own chance would find one among a thousand classes in
    every random split.

    Args:
        chances: probability of each to be absent by chance.
        absent: which of them are.
    """
    missing = [chance for chance, gone in zip(chances, absent, strict=True) if gone]
    if not missing:
        return 1.0
    as_rare = sum(chance for chance in chances if chance <= min(missing) * (1 + 1e-9))
    number = poisson_at_least(len(missing), sum(chances))
    return corrected(min(1.0, as_rare, number), 2)


def samples_needed(first: float, second: float, alpha: float = CUSTOMARY, power: float = 0.8) -> int:
    """Samples *per evaluation* to tell two rates apart when the samples are not paired.

    ``n = (z_a sqrt(2 m (1 - m)) + z_b sqrt(p(1 - p) + q(1 - q)))^2 / (p - q)^2`` with ``m`` the mean of the two rates
    (Fleiss, *Statistical Methods for Rates and Proportions*, without continuity correction).

    Raises:
        ValueError: when the two rates are equal, which no number of samples tells apart.
    """
    if first == second:
        raise ValueError(f"samples_needed({first}, {second}): the rates are equal; give two different rates")
    mean = (first + second) / 2
    spread = first * (1 - first) + second * (1 - second)
    z = quantile(1 - alpha) * math.sqrt(2 * mean * (1 - mean)) + _NORMAL.inv_cdf(power) * math.sqrt(spread)
    return math.ceil((z / (first - second)) ** 2)


def samples_needed_against(fixed: float, rate: float, alpha: float = CUSTOMARY, power: float = 0.8) -> int:
    """Samples that show, by a one-sided test, on which side of the ``fixed`` rate a model of true rate ``rate`` lies.

    ``n = (z_a sqrt(f (1 - f)) + z_b sqrt(p (1 - p)))^2 / (f - p)^2`` (Fleiss, as above, for one sample).

    Raises:
        ValueError: when the two rates are equal, which no number of samples tells apart.
    """
    if fixed == rate:
        raise ValueError(f"samples_needed_against({fixed}, {rate}): the rates are equal; give two different rates")
    z = quantile(1 - 2 * alpha) * math.sqrt(fixed * (1 - fixed)) + _NORMAL.inv_cdf(power) * math.sqrt(rate * (1 - rate))
    return math.ceil((z / (fixed - rate)) ** 2)


def pairs_needed(gained: int, lost: int, n: int, alpha: float = CUSTOMARY, power: float = 0.8) -> int:
    """Paired samples that establish a change by McNemar's test, when answers go on to change at the shares seen in ``n``.

    ``n = (z_a sqrt(c) + z_b sqrt(c - d^2))^2 / d^2`` with ``c`` the share of changed answers and ``d`` the difference of
    losses and gains (Connor 1987).

    Raises:
        ValueError: when as many were gained as lost, which no number of samples tells apart.
    """
    if gained == lost:
        raise ValueError(f"pairs_needed({gained}, {lost}): gains equal losses; give two different numbers")
    changed, change = (gained + lost) / n, (lost - gained) / n
    z = quantile(1 - alpha) * math.sqrt(changed) + _NORMAL.inv_cdf(power) * math.sqrt(max(changed - change**2, 0.0))
    return math.ceil((z / change) ** 2)


def rounded_up(number: int) -> int:
    """``number`` rounded up to two digits, for a sentence with *about* (186 -> 190)."""
    unit: int = 10 ** max(0, len(str(number)) - 2)
    return -(-number // unit) * unit


def detectable(n: int, rate: float, alpha: float = CUSTOMARY, power: float = 0.8) -> float:
    """Smallest drop from ``rate`` that two unpaired evaluations of ``n`` samples would show, at most ``rate`` itself.

    Found by bisection of :func:`samples_needed`; differences below it are missed more often than ``1 - power``.
    """
    low, high = 1e-6, max(rate, 2e-6)
    if n <= 0 or samples_needed(rate, rate - high, alpha, power) > n:
        return high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if samples_needed(rate, rate - middle, alpha, power) <= n else (middle, high)
    return high


def best_of_bias(n: int, rate: float, looks: int) -> float:
    """By how much the best of ``looks`` evaluations of one model overstates its rate, at most.

    The expected maximum of ``looks`` independent normal deviates (Blom 1958) times the binomial standard error. Epochs
    are not independent, so that this is an upper bound.
    """
    if n <= 0 or looks < 2:
        return 0.0
    expected_maximum = _NORMAL.inv_cdf((looks - 0.375) / (looks + 0.25))
    return expected_maximum * math.sqrt(rate * (1 - rate) / n)


def corrected(p_value: float, looks: int) -> float:
    """The p-value after ``looks`` chances to find it (Šidák), never above 1."""
    if p_value >= 1.0:
        return 1.0
    return -math.expm1(max(1, looks) * math.log1p(-p_value))


def before_correction(alpha: float, looks: int) -> float:
    """The level that one p-value must be below for :func:`corrected` to be below ``alpha`` after ``looks`` chances."""
    return -math.expm1(math.log1p(-alpha) / max(1, looks))


def noise(values: Sequence[float]) -> float:
    """Standard deviation of the noise on a slowly moving series, from its first differences.

    ``1.4826 * MAD(differences) / sqrt(2)``: the median takes out a steady slope, and a single jump does not count.
    0 for fewer than three values.
    """
    if len(values) < 3:
        return 0.0
    steps = [b - a for a, b in itertools.pairwise(values)]
    centre = median(steps)
    return MAD_TO_SIGMA * median(abs(s - centre) for s in steps) / math.sqrt(2)


def noise_about_curve(values: Sequence[float]) -> float:
    """Standard deviation of the noise on a series that bends, as a loss does that levels off, from its second differences.

    ``1.4826 * median(|second differences|) / sqrt(6)``: the change of a smooth slope is small where the change of the
    values is not, so that a steady fall that slows down is no noise, as it is to :func:`noise`. 0 for fewer than three
    values.
    """
    if len(values) < 3:
        return 0.0
    steps = [b - a for a, b in itertools.pairwise(values)]
    return MAD_TO_SIGMA * median(abs(b - a) for a, b in itertools.pairwise(steps)) / math.sqrt(6)


def trend(values: Sequence[float], x: Sequence[float] | None = None) -> Trend:
    """Theil-Sen slope and Mann-Kendall p-value; (0, 1) for fewer than three values.

    Kendall's exact distribution is used for short series without ties (scipy's ``kendalltau``). Of more than
    :data:`STRETCHES` values the means over equal stretches are compared: ten thousand values have fifty million pairs.
    """
    positions = list(x) if x is not None else list(range(len(values)))
    if len(values) < 3 or len(set(values)) < 2:
        return Trend(0.0, 1.0)
    if len(values) > STRETCHES:
        edges = [round(i * len(values) / STRETCHES) for i in range(STRETCHES + 1)]
        spans = [slice(a, b) for a, b in itertools.pairwise(edges)]
        return trend([fmean(values[span]) for span in spans], [fmean(positions[span]) for span in spans])
    from scipy.stats import kendalltau

    slopes = [
        (values[j] - values[i]) / (positions[j] - positions[i])
        for i in range(len(values))
        for j in range(i + 1, len(values))
        if positions[j] != positions[i]
    ]
    return Trend(float(median(slopes)), float(kendalltau(positions, values).pvalue))
