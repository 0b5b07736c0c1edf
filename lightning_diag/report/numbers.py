"""Numbers as a report shows them: as many digits as they carry, and "0 %" or "100 %" only when that is exact."""

from __future__ import annotations

import math

from lightning_diag import words
from lightning_diag.history import Count

MISSING = ""
"""What stands in a cell that was not measured: absent is not zero."""


def integer(value: float | None) -> str:
    """``12345`` as ``12,345``."""
    return MISSING if value is None else f"{value:,.0f}" if math.isfinite(value) else nonfinite(value)


def nonfinite(value: float) -> str:
    """``NaN``, ``∞`` or ``−∞``."""
    return "NaN" if math.isnan(value) else "∞" if value > 0 else "−∞"


def significant(value: float | None, digits: int = 3) -> str:
    """``value`` with ``digits`` significant digits, plain between 0.001 and 100,000, else as ``1.2e-05``."""
    if value is None:
        return MISSING
    if not math.isfinite(value):
        return nonfinite(value)
    if value == 0:
        return "0"
    size = abs(value)
    if not 1e-3 <= size < 1e5:
        return _scientific(value, digits)
    decimals = max(0, digits - 1 - math.floor(math.log10(size)))
    return f"{value:,.{decimals}f}".replace("-", "−")


def _scientific(value: float, digits: int) -> str:
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa.replace('-', '−')}e{int(exponent)}"


def rate(value: float | None) -> str:
    """A learning rate or weight decay as sentences write it: ``0.0005``, ``0.1``, ``1e-5``."""
    return MISSING if value is None else words.number(value)


def percent(fraction: float | None, n: int | None = None) -> str:
    """A fraction as :func:`lightning_diag.words.percent` writes it; missing where there is none (nothing to divide by)."""
    return MISSING if fraction is None or math.isnan(fraction) else words.percent(fraction, n).replace("-", "−")


def _decimals(n: int | None) -> int:
    return 1 if n is not None and n >= words.MANY else 0


def _points(fraction: float, decimals: int) -> str:
    """A fraction in percent, with more decimals where fewer would round it to exactly 0 or 100."""
    if fraction in {0.0, 1.0}:
        return f"{100 * fraction:.0f}"
    for digits in range(decimals, 3):
        text = f"{100 * fraction:.{digits}f}"
        if float(text) not in {0.0, 100.0}:
            return text.replace("-", "−")
    return "> 99.99" if fraction > 0.5 else "< 0.01"


def count(value: Count | None) -> str:
    """``21/29 = 72 %``; empty for no samples."""
    return MISSING if value is None or value.n == 0 else words.of(value)


def of(value: Count | None) -> str:
    """``21/29``."""
    return MISSING if value is None or value.n == 0 else f"{value.k:,}/{value.n:,}"


def bounds(low: float, high: float, n: int | None = None) -> str:
    """An interval of fractions in whole percent, ``54–85 %``; a bound that is not exactly 0 or 1 never shows as such."""
    return f"{_points(low, _decimals(n))}–{_points(high, _decimals(n))} %"


def brackets(low: float, high: float, n: int | None = None) -> str:
    """An interval of fractions after its rate: ``[54, 85]``, in percent."""
    return f"[{_points(low, _decimals(n))}, {_points(high, _decimals(n))}]"


def points(value: float) -> str:
    """A difference of fractions with its sign: ``+14 points``, ``−0.5 points``; ``0 points`` when there is none."""
    return f"{'' if value == 0 else '+' if value > 0 else '−'}{words.points(value)}"


def duration(seconds: float | None) -> str:
    """``45 s``, ``12 min``, ``3.4 h``, ``2.1 days``."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    for limit, size, unit in ((10, 1, "s"), (100, 1, "s"), (6000, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.2g} {unit}" if limit == 10 else f"{_three(seconds / size)} {unit}"
    return f"{_three(seconds / 86_400)} days"


def _three(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def magnitude(value: int | None) -> str:
    """A number of parameters: ``2.98 M``, ``130 k``, ``512``."""
    if value is None:
        return MISSING
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return str(value)
