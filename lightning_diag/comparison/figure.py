"""The curves of several runs over one another."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from lightning_diag.comparison.values import Comparison, Standing
from lightning_diag.report.escape import name
from lightning_diag.report.figures.style import (
    FAINT,
    MARK,
    OTHER,
    RATE,
    TRAIN,
    VAL,
    drawing,
    figure,
    label_ends,
    lay_out,
    reduced,
    save,
    whole_epochs,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (VAL, TRAIN, RATE, MARK, OTHER)
"""Of the first runs; the others are grey."""
MAX_LINES = 60
"""Curves drawn: more can neither be told apart nor looked at."""


def draw_comparison(comparison: Comparison, file_format: str = "svg") -> dict[str, bytes]:
    """The compared signal of each run over epochs, best runs in colour and named; empty without matplotlib."""
    drawn = [standing for standing in comparison.standings if len(standing.series)]
    if find_spec("matplotlib") is None or not drawn:
        return {}
    with drawing("comparison"):
        made = figure(3.4)
        axes = made.subplots()
        for standing in shown(drawn)[::-1]:  # the best lie on top
            rank = drawn.index(standing)
            _line(axes, standing, COLOURS[rank] if rank < len(COLOURS) else FAINT)
        axes.set_title(comparison.called)
        axes.set_xlabel("epoch")
        whole_epochs(axes)
        ends = [
            (float(s.series.epochs[-1]), s.series.values[-1], name(s.name, 24), COLOURS[i])
            for i, s in enumerate(drawn[: len(COLOURS)])
        ]
        axes.margins(x=0.02)
        lay_out(made)
        label_ends(axes, ends)
        return {"comparison": save(made, file_format)}


def shown(standings: list[Standing]) -> list[Standing]:
    """The runs that are drawn: the best ones, and of the others evenly by rank."""
    if len(standings) <= MAX_LINES:
        return standings
    head, rest = standings[: len(COLOURS)], standings[len(COLOURS) :]
    places = MAX_LINES - len(head)
    return head + [rest[i * len(rest) // places] for i in range(places)]


def _line(axes: Axes, standing: Standing, colour: str) -> None:
    x, y = reduced(standing.series.epochs, standing.series.values)
    grey = colour == FAINT
    axes.plot(
        x,
        y,
        color=colour,
        alpha=0.5 if grey else 1.0,
        linewidth=0.8 if grey else 1.6,
        marker="o" if len(x) <= 40 and not grey else "",
        markersize=3,
    )
