"""From printed shares to counts: which k of n a rounded accuracy is, and which n fits all of them."""

from __future__ import annotations

import math
from collections.abc import Iterable

from lightning_diag.history import Count
from lightning_diag.readers.log import Column

FLOAT32 = 1e-6
"""A share that was computed in float32 is off by less than this."""
LARGEST = 20_000
"""Sizes that are tried when the size is not known."""
COINCIDENCE = 0.01
"""Expected number of sizes up to the one found that would fit by chance: below it the size is worth a hint."""


def resolution(column: Column, scale: float) -> float:
    """How far a printed share may be off: one unit in the last printed place, and not less than float32 keeps."""
    return max(scale * 10.0 ** -min(column.decimals, 17), FLOAT32)


def count_of(share: float, n: int, off: float) -> Count | None:
    """The k of n that was printed as ``share``; None when no k matches, or several do.

    Args:
        share: fraction in 0..1.
        n: size of the set.
        off: how far the printed value may be from k / n.
    """
    if not math.isfinite(share) or ambiguous(n, off):
        return None
    k = round(share * n)
    return Count(k=k, n=n) if 0 <= k <= n and abs(k / n - share) <= off else None


def ambiguous(n: int, off: float) -> bool:
    """Whether shares that are printed to within ``off`` can be more than one k of ``n``.

    Where n divides a power of ten that is printed in full, each k has a decimal of its own, rounded or cut off: 0.4774 is
    4774 of 10,000, the usual size of a test set.
    """
    units = 1 / off
    whole = off > FLOAT32 and n <= units * (1 + 1e-9) and abs(units / n - round(units / n)) < 1e-6
    return 2 * off * n >= 1 and not whole


def fitting_size(shares: Iterable[float], off: float) -> int | None:
    """The smallest n of which all ``shares`` are a k, where that is no coincidence; None where there is none.

    A share that has nothing to do with n is within ``off`` of some k / n with probability ``2 off n``; for m different shares
    the expected number of sizes up to n that fit by chance is about ``(2 off)^m n^(m + 1) / (m + 1)``.
    """
    different = sorted({s for s in shares if 0 < s < 1})
    m = len(different)
    if m < 3:
        return None
    for n in range(2, LARGEST):
        log_chance = m * math.log(2 * off) + (m + 1) * math.log(n) - math.log(m + 1)
        if log_chance > math.log(COINCIDENCE):
            return None
        if all(count_of(share, n, off) for share in different):
            return n
    return None
