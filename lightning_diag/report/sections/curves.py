"""The curves: a figure where one was drawn, else one line of text per signal."""

from __future__ import annotations

import math
from itertools import pairwise

from lightning_diag.history import Series
from lightning_diag.report import numbers
from lightning_diag.report.document import Block, Column, Figure, Row, Table
from lightning_diag.report.escape import Name
from lightning_diag.report.view import View, shown

LEVELS = "▁▂▃▄▅▆▇█"
WIDTH = 40
"""Characters of a line; a longer run is averaged into so many."""
SIGNALS = (
    "train/loss", "val/loss", "train/acc", "val/acc", "ctc/val/ter", "ctc/val/blank_share", "lr",
)  # fmt: skip


def curves(view: View) -> tuple[Block, ...]:
    """The figure, or sparklines of what it would have shown."""
    if "curves" in view.figures:
        return (Figure(name="curves", alt=_alt(view)),)
    signals = dict.fromkeys([*SIGNALS, view.metric[0]])
    series = [view.history.series(s).finite for s in signals if s]
    rows = tuple(Row(cells=_cells(view, s)) for s in series if len(s) > 2)
    columns = (
        Column(""),
        Column("first", numeric=True),
        Column("course"),
        Column("last", numeric=True),
        Column("range", numeric=True),
    )
    return (Table(columns=columns, rows=rows),) if rows else ()


def _alt(view: View) -> str:
    """What the figure shows, panel by panel."""
    present, metric = set(view.history.signals()), view.metric[0]
    parts = ["loss"] if present & {"train/loss", "val/loss"} else []
    if metric and metric != "val/loss":
        parts.append(f"{view.title(metric)}{' with intervals' if view.count(view.final) else ''}")
    return ", ".join([*parts, "learning rate"] if "lr" in present else parts)


def _cells(view: View, series: Series) -> tuple[str, ...]:
    low, high = min(series.values), max(series.values)
    put = numbers.rate if series.name == "lr" else lambda v: shown(series.name, v)
    return (
        view.title(series.name),
        put(series.values[0]),
        Name(sparkline(series)),
        put(series.values[-1]),
        f"{put(low)} to {put(high)}",
    )


def sparkline(series: Series, width: int = WIDTH) -> str:
    """A series as one line of text, eight levels from its lowest to its highest value (a flat one is all low)."""
    values = _averaged(series.values, width)
    low, high = min(values), max(values)
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return LEVELS[0] * len(values)
    return "".join(LEVELS[min(7, int(8 * (v - low) / span))] for v in values)


def _averaged(values: tuple[float, ...], width: int) -> list[float]:
    if len(values) <= width:
        return list(values)
    edges = [round(i * len(values) / width) for i in range(width + 1)]
    return [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
