"""How far the weights have moved from the checkpoint that they started from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_diag.history import Series
from lightning_diag.report.escape import name
from lightning_diag.report.figures.style import (
    INK,
    MARK,
    OTHER,
    RATE,
    TRAIN,
    VAL,
    figure,
    label_ends,
    lay_out,
    reduced,
    whole_epochs,
)
from lightning_diag.report.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = (
    ("relative_l2", "relative distance from the checkpoint (0: unchanged, 1.4: unrelated)"),
    ("cosine", "cosine with the checkpoint (1: unchanged, 0: unrelated)"),
)
BLOCK_COLOURS = (TRAIN, VAL, RATE, MARK, OTHER)
"""One line per block, for the blocks that moved most; more lines could not be told apart."""

Line = tuple[str, Series, str]  # label, values, colour


def drift(view: View) -> Figure | None:
    """Distance from the checkpoint and cosine with it per epoch: the whole, and the blocks that moved most."""
    panels = [(text, _lines(view, measure)) for measure, text in PANELS]
    panels = [(text, lines) for text, lines in panels if lines]
    if not panels:
        return None
    made = figure(0.3 + 2.0 * len(panels))
    for at, (text, lines) in enumerate(panels):
        axes = made.add_subplot(len(panels), 1, at + 1)
        axes.set_title(text)
        for _, series, colour in lines:
            x, y = reduced(series.epochs, series.values)
            axes.plot(x, y, color=colour, linewidth=2.2 if colour == INK else 1.2)
        whole_epochs(axes)
        if at == 0:
            axes.set_ylim(0, None)
    made.axes[-1].set_xlabel("epoch")
    lay_out(made)
    for axes, (_, lines) in zip(made.axes, panels, strict=True):
        label_ends(axes, [(float(s.epochs[-1]), s.values[-1], name(text, 30), colour) for text, s, colour in lines])
    return made


def _lines(view: View, measure: str) -> list[Line]:
    """The whole in ink, then the blocks that moved most, each in the same colour in every panel."""
    whole = view.history.series(f"pretrain/{measure}").finite
    if len(whole) < 2:
        return []
    found = [(block, view.history.series(f"pretrain/{block}/{measure}").finite) for block in _moved_most(view)]
    coloured = zip(found, BLOCK_COLOURS, strict=False)
    return [("all", whole, INK), *((block, series, colour) for (block, series), colour in coloured if len(series))]


def _moved_most(view: View) -> list[str]:
    """Blocks in the order of their last distance, at most one per colour."""
    last: dict[str, float] = {}
    for signal in view.history.signals():
        parts = signal.split("/")
        if len(parts) > 2 and parts[0] == "pretrain" and parts[-1] == "relative_l2":
            series = view.history.series(signal).finite
            last |= {"/".join(parts[1:-1]): series.values[-1]} if len(series) else {}
    return sorted(last, key=lambda block: -last[block])[: len(BLOCK_COLOURS)]
