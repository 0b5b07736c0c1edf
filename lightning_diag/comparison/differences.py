"""Which differences between runs the data carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from lightning_diag import statistics
from lightning_diag.comparison.values import Difference, Score, Standing
from lightning_diag.history import Count, Outcomes

ALPHA = 0.05
"""A difference is established below this p-value, after the correction for the number of pairs of runs."""


@dataclass(frozen=True)
class _Tested:
    p_value: float | None
    method: str
    needed: int | None = None


def differences(
    standings: Sequence[Standing], outcomes: Mapping[str, Sequence[Outcomes]], signal: str
) -> tuple[Difference, ...]:
    """The first of ``standings`` against each other one.

    Which run is first was picked by the same numbers that are tested: of equal runs the luckiest is laid beside the
    unluckiest. What was looked at is every pair, and for as many the p-values are corrected.

    Args:
        standings: best first.
        outcomes: name of a run -> what each of its validation samples did.
        signal: what the standings are by.
    """
    rate = signal == "val/acc"  # what the samples did says nothing about a loss
    outcomes = outcomes if rate else {}
    first, *others = standings
    if first.best is None:
        return ()
    scored = [(other, other.best) for other in others if other.best is not None]
    level = ALPHA / _pairs(len(scored))
    tested = [
        _test(first.best, score, outcomes.get(first.name, ()), outcomes.get(other.name, ()), rate=rate, level=level)
        for other, score in scored
    ]
    corrected = _holm([t.p_value for t in tested])
    return tuple(
        _difference(other.name, first.best.value - score.value, replace(test, p_value=p_value))
        for (other, score), test, p_value in zip(scored, tested, corrected, strict=True)
    )


def _difference(other: str, amount: float, test: _Tested) -> Difference:
    established = test.p_value is not None and test.p_value < ALPHA
    return Difference(
        other=other,
        amount=amount,
        claim="established" if established else "not established",
        method=test.method,
        p_value=test.p_value,
        needed=None if established else test.needed,
    )


def _pairs(others: int) -> int:
    """Pairs that the first run and ``others`` make; at least one."""
    return max(1, others * (others + 1) // 2)


def _test(
    first: Score, second: Score, ours: Sequence[Outcomes], theirs: Sequence[Outcomes], *, rate: bool, level: float
) -> _Tested:
    """Paired where both runs recorded the same samples, else unpaired counts, else nothing.

    ``level`` is that which a difference has to pass before correction: for the number of samples that would do.
    """
    pair = next((pair for a in ours for b in theirs if (pair := paired(a, b)) is not None), None)
    if pair is not None:
        gained, lost = pair
        return _Tested(
            statistics.mcnemar(gained, lost), f"paired by sample: {gained} against {lost} of {ours[0].n} (McNemar)"
        )
    if first.count and second.count:
        p_value, needed = _unpaired(first.count, second.count, level)
        return _Tested(p_value, "not paired (Fisher)", needed)
    if first.dependent or second.dependent:
        return _Tested(
            None, "positions of one sample depend on each other: nothing to test (train each with several seeds)"
        )
    hint = "give --n-val" if rate else "train each with several seeds"
    return _Tested(None, f"one number per run: nothing to test ({hint})")


def paired(first: Outcomes, second: Outcomes) -> tuple[int, int] | None:
    """(right in the first only, right in the second only) over the same samples in the same order; None for others."""
    same = (first.stage, first.n, first.fingerprint) == (second.stage, second.n, second.fingerprint)
    if not same or not first.n:
        return None
    try:
        a, b = int(first.right, 16), int(second.right, 16)
    except ValueError:
        return None  # not written by us
    return (a & ~b).bit_count(), (b & ~a).bit_count()


@cache
def _unpaired(first: Count, second: Count, level: float) -> tuple[float, int | None]:
    """Runs of a sweep repeat the same counts, and the exact test is the slow part of comparing a thousand of them."""
    needed = None if first.rate == second.rate else statistics.samples_needed(first.rate, second.rate, level)
    return statistics.fisher(first, second), needed


def _holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction (Holm 1979) for all pairs of the first run and those that have a p-value.

    Only the pairs of the first are known. The k-th smallest of them is the k-th of all at best, so that the factor of
    that rank is never too small.
    """
    order = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    pairs = _pairs(len(order))
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p_value, i) in enumerate(order):
        largest = max(largest, min(1.0, p_value * (pairs - rank)))
        corrected[i] = largest
    return corrected
