"""Numbers as they are written in sentences: counts with their rate, p-values, short floats."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lightning_diag.history import Count


def percent(rate: float) -> str:
    """``72 %``, ``3.6 %``; ``0 %`` and ``100 %`` only when exact (99.9 % of 1,000 is written ``99.9 %``)."""
    if math.isnan(rate):
        return "unknown"
    for digits in (0, 1, 2, 3):
        text = f"{100 * rate:.{digits}f}"
        if digits == 0 and 0 < rate < 0.0995:
            text = f"{100 * rate:.1f}".removesuffix(".0")
        if float(text) not in (0.0, 100.0) or rate in (0.0, 1.0):
            return f"{text} %"
    return "> 99.999 %" if rate > 0.5 else "< 0.001 %"


def points(difference: float) -> str:
    """A difference of two rates: ``14 points``."""
    value = abs(100 * difference)
    text = f"{value:.0f}" if value >= 1 or value == 0 else f"{value:.1f}"
    return f"{text} point" + ("" if text == "1" else "s")


def of(count: Count) -> str:
    """``21/29 = 72 %``."""
    return f"{count.k}/{count.n} = {percent(count.rate)}"


def number(value: float) -> str:
    """Three significant digits, without an exponent where that stays readable: ``0.0005``, ``2.02``, ``1,234``."""
    if not math.isfinite(value):
        return {True: "NaN", False: "infinite"}[math.isnan(value)]
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < 1e6 else f"{value:.2g}"
    return f"{value:.3g}"


def p(value: float) -> str:
    """``p = 0.41``, ``p = 0.003``, ``p = 0.00005``, ``p < 1e-6``."""
    if value < 1e-6:
        return "p < 1e-6"
    digits = 2 if value >= 0.095 else 1 - math.floor(math.log10(value)) - 1
    return f"p = {min(value + 1e-12, 1.0):.{max(digits, 2)}f}"  # 0.125 is written 0.13, not 0.12


def listed(items: Sequence[str], most: int = 5) -> str:
    """``a, b and c``; beyond ``most`` the rest is counted."""
    shown = list(items[:most])
    if len(items) > most:
        return ", ".join(shown) + f" and {len(items) - most} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)
