"""Numbers as they are written in sentences: counts with their rate, p-values, short floats."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lightning_diag.history import Count

TITLES: Mapping[str, str] = {
    "train/loss": "training loss",
    "val/loss": "validation loss",
    "train/acc": "training accuracy",
    "val/acc": "validation accuracy",
    "train/balanced_acc": "balanced accuracy on training",
    "val/balanced_acc": "balanced accuracy on validation",
    "train/macro_f1": "macro F1 on training",
    "val/macro_f1": "macro F1 on validation",
    "lr": "learning rate",
    "ctc/val/blank_share": "blank frames on validation",
    "ctc/train/ter": "token error rate on training",
    "ctc/val/ter": "token error rate on validation",
}
"""Names of signals in sentences and headings; others are shown under their own name."""

EXACT_MATCH = "exact match"
"""What the share of right samples is called where a sample has several labels and is right only with all of them."""


def title(signal: str, task: str | None = None) -> str:
    """The signal in words; with several labels per sample accuracy is an exact match of all of them."""
    text = TITLES.get(signal, signal)
    return text.replace("accuracy", EXACT_MATCH) if task == "multilabel" and signal.endswith("/acc") else text


def capital(text: str) -> str:
    """``text`` with a capital first letter."""
    return text[:1].upper() + text[1:]


def percent(rate: float, n: int | None = None) -> str:
    """``72 %``, ``3.6 %``; one decimal below ten percent, and from 1,000 samples on, where it means something.

    Args:
        rate: in 0..1.
        n: how many samples it rests on, where known.

    Returns:
        ``0 %`` and ``100 %`` only when exact, else with more decimals: ``99.97 %``.
    """
    if math.isnan(rate):
        return "unknown"
    many = n is not None and n >= MANY
    for digits in range(int(many), 3):
        text = f"{100 * rate:.{digits}f}"
        if not digits and 0 < rate < 0.0995:
            text = f"{100 * rate:.1f}".removesuffix(".0")
        if float(text) not in (0.0, 100.0) or rate in (0.0, 1.0):
            return f"{float(text):.0f} %" if rate in (0.0, 1.0) else f"{text} %"
    return "> 99.99 %" if rate > 0.5 else "< 0.01 %"


MANY = 1000
"""Samples from which a tenth of a percent means something."""


def points(difference: float) -> str:
    """A difference of two rates: ``14 points``, ``0.5 points``, ``1 point``."""
    value = abs(100 * difference)
    text = f"{value:.0f}" if value >= 1 or value == 0 else f"{value:.1f}"
    return f"{text} point" + ("" if text == "1" else "s")


def of(count: Count) -> str:
    """``21/29 = 72 %``."""
    shown = percent(count.rate, count.n)
    return f"{count.k:,}/{count.n:,} {'' if shown[0] in '<>' else '= '}{shown}"


def number(value: float) -> str:
    """Three significant digits, without an exponent where that stays readable: ``0.0005``, ``2.02``, ``1,234``, ``1e-5``."""
    if not math.isfinite(value):
        return {True: "NaN", False: "infinite"}[math.isnan(value)]
    if value < 0:
        return f"−{number(-value)}"
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < 1e6 else _short(f"{value:.2g}")
    return _short(f"{value:.3g}")


def _short(text: str) -> str:
    """``1e-05`` as ``1e-5``."""
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}" if e else text


def p(value: float) -> str:
    """``p = 0.41``, ``p = 0.003``, ``p = 0.00005``, ``p < 1e-6``; with so many digits that it stays on its side of a level.

    0.0496 is ``p = 0.0496``: beside *established below 0.05*, ``p = 0.05`` would contradict itself.
    """
    if math.isnan(value):
        return "p unknown"
    if value < 1e-6:
        return "p < 1e-6"
    digits = 2 if value >= 0.095 else max(2, -math.floor(math.log10(value)))
    shown = min(value + 1e-12, 1.0)  # 0.125 is written 0.13, not 0.12
    while any((float(f"{shown:.{digits}f}") < level) != (shown < level) for level in LEVELS):
        digits += 1
    return f"p = {shown:.{digits}f}"


LEVELS = (0.05, 0.01)
"""Levels that p-values are held against; a rounded one must not change sides."""


def listed(items: Sequence[str], most: int = 5) -> str:
    """``a, b and c``; beyond ``most`` the rest is counted."""
    shown = list(items[:most])
    if len(items) > most:
        return ", ".join(shown) + f" and {len(items) - most} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)
