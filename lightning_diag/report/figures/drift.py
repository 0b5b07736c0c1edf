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
    reduced,
    whole_epochs,
)
from lightning_diag.report.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WHOLE = "pretrain/relative_l2"
BLOCK_COLOURS = (TRAIN, VAL, RATE, MARK, OTHER)
"""One line per block, for the blocks that moved most; more lines could not be told apart."""


def drift(view: View) -> Figure | None:
    """Relative L2 distance from the checkpoint per epoch: the whole, and the blocks that moved most."""
    whole = view.history.series(WHOLE).finite
    if len(whole) < 2:
        return None
    blocks = sorted(_blocks(view), key=lambda pair: -pair[1].values[-1])[: len(BLOCK_COLOURS)]
    lines = [("all", whole, INK), *((b, s, c) for (b, s), c in zip(blocks, BLOCK_COLOURS, strict=False))]
    made = figure(2.3)
    axes = made.add_subplot()
    axes.set_title("relative distance from the checkpoint (0: unchanged, 1.4: unrelated)")
    for _, series, colour in lines:
        x, y = reduced(series.epochs, series.values)
        axes.plot(x, y, color=colour, linewidth=2.2 if colour == INK else 1.2)
    axes.set_ylim(0, None)
    axes.set_xlabel("epoch")
    whole_epochs(axes)
    made.draw_without_rendering()
    label_ends(axes, [(float(s.epochs[-1]), s.values[-1], name(text, 30), colour) for text, s, colour in lines])
    return made


def _blocks(view: View) -> list[tuple[str, Series]]:
    signals = [s for s in view.history.signals() if s.startswith("pretrain/") and s.endswith("/relative_l2")]
    found = [(s.split("/", 1)[1].rsplit("/", 1)[0], view.history.series(s).finite) for s in signals if s != WHOLE]
    return [(block, series) for block, series in found if len(series)]
