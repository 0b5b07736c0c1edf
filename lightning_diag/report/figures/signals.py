"""CTC signals, pretrained weights and the stopping probability."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lightning_diag.report import numbers
from lightning_diag.report.escape import name
from lightning_diag.report.figures.style import (
    FAINT,
    INK,
    MARK,
    OTHER,
    RATE,
    SMALL,
    TRAIN,
    VAL,
    bare,
    figure,
    label_ends,
    lay_out,
    reduced,
    whole_epochs,
)  # fmt: skip
from lightning_diag.report.view import Points, View

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLOCKS = 40
"""Blocks of a checkpoint that are drawn; of more, those with the smallest equal share."""

_PANELS = (
    ("blank_share", "blank frames", True),
    ("emit_ratio", "emitted per reference token", False),
    ("loss_ratio", "loss over trivial loss (1: input ignored)", False),
    ("ter", "token error rate", True),
)


def ctc(view: View) -> Figure | None:
    """Small panels, one per signal that was recorded."""
    shown = view.metric[0].removeprefix("ctc/val/")  # that one has a panel among the curves
    panels = [panel for panel in _PANELS if panel[0] != shown]
    present = [panel for panel in panels if any(len(_ctc(view, stage, panel[0])) > 1 for stage in ("train", "val"))]
    if not present:
        return None
    rows = -(-len(present) // 2)
    made = figure(0.3 + 1.9 * rows)
    grid = made.add_gridspec(rows, 2)
    for at, (key, text, percent) in enumerate(present):
        axes = made.add_subplot(grid[at // 2, at % 2])
        axes.set_title(text)
        _ctc_panel(view, axes, key, percent=percent)
        if at >= len(present) - 2:
            axes.set_xlabel("epoch")
    lay_out(made)
    for axes, (key, _, _) in zip(made.axes, present, strict=True):
        label_ends(axes, _ctc_ends(view, key))
    return made


def _ctc(view: View, stage: str, key: str) -> Points:
    return view.points(f"ctc/{stage}/{key}")


def _ctc_panel(view: View, axes: Axes, key: str, *, percent: bool) -> None:
    from matplotlib.ticker import FuncFormatter

    for stage, colour in (("train", TRAIN), ("val", VAL)):
        _plot(axes, _ctc(view, stage, key), colour)
    if key == "blank_share":
        expected = _ctc(view, "val", "blank_expected")
        expected = expected if len(expected) else _ctc(view, "train", "blank_expected")
        _plot(axes, expected, FAINT, dashed=True)
    if key in {"emit_ratio", "loss_ratio"}:
        axes.axhline(1.0, color=FAINT, linewidth=1, linestyle=(0, (5, 3)))
    if percent:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g} %"))
    low, high = axes.get_ylim()
    axes.set_ylim(min(0.0, low), max(1.08 * high, 1.15))
    whole_epochs(axes)


def _ctc_ends(view: View, key: str) -> list[tuple[float, float, str, str]]:
    wanted = [("train", key, "training", TRAIN), ("val", key, "validation", VAL)]
    wanted += [("val", "blank_expected", "expected", FAINT)] if key == "blank_share" else []
    found = [(_ctc(view, stage, signal), text, colour) for stage, signal, text, colour in wanted]
    return [(s.x[-1], s.y[-1], text, colour) for s, text, colour in found if len(s)]


def _plot(axes: Axes, series: Points, colour: str, *, dashed: bool = False) -> None:
    if len(series):
        x, y = reduced(series.x, series.y)
        axes.plot(x, y, color=colour, linestyle=(0, (5, 3)) if dashed else "-", linewidth=1.1 if dashed else 1.6,
                  marker="o" if len(x) <= 20 and not dashed else "", markersize=3)  # fmt: skip


def pretrained(view: View) -> Figure | None:
    """How much of each block equals the checkpoint, as bars with the number written behind them."""
    facts = view.history.context.pretrain
    if facts is None or not facts.blocks:
        return None
    blocks = sorted(facts.blocks, key=lambda b: b.equal)[:BLOCKS] if len(facts.blocks) > BLOCKS else list(facts.blocks)
    made = figure(0.7 + 0.2 * len(blocks))
    axes = made.add_subplot()
    axes.barh(range(len(blocks)), [1] * len(blocks), color=FAINT, alpha=0.18, height=0.66)
    axes.barh(range(len(blocks)), [_share(b.equal) for b in blocks], color=VAL, height=0.66)
    axes.set_yticks(range(len(blocks)), [name(b.block, 44) for b in blocks])
    axes.set_ylim(len(blocks) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    bare(axes)
    axes.set_title("share of each block that equals the checkpoint")
    for at, block in enumerate(blocks):
        text = f"{numbers.percent(block.equal)} of {numbers.magnitude(block.parameters)}"
        axes.annotate(text, (1, at), xytext=(5, 0), textcoords="offset points", va="center", fontsize=SMALL, color=INK,
                      annotation_clip=False)  # fmt: skip
    return made


def _share(share: float) -> float:
    """A share between 0 and 1; nothing for what is no number."""
    return min(max(share, 0.0), 1.0) if math.isfinite(share) else 0.0


def stopping(view: View) -> Figure | None:
    """The probability that the best still improves, with the epoch at which the criterion would have stopped."""
    stop = view.history.context.stop
    if len(stop.probability) < 2:
        return None
    epochs, values = reduced([e for e, _ in stop.probability], [_share(p) for _, p in stop.probability])
    made = figure(2.1)
    axes = made.add_subplot()
    axes.set_title("probability that a later epoch beats the best")
    axes.plot(epochs, values, color=RATE)
    axes.fill_between(epochs, 0, values, color=RATE, alpha=0.15, linewidth=0)
    axes.set_ylim(0, 1.02)
    axes.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    axes.set_xlabel("epoch")
    axes.margins(x=0.02)
    whole_epochs(axes)
    for epoch, text, colour in _stops(view):
        axes.axvline(epoch, color=colour, linewidth=1.1, linestyle=(0, (2, 2)))
        axes.annotate(text, (epoch, 1), xycoords=("data", "axes fraction"), xytext=(-4, -4), textcoords="offset points",
                      ha="right", va="top", color=colour, fontsize=SMALL)  # fmt: skip
    return made


def _stops(view: View) -> list[tuple[int, str, str]]:
    best = [(view.best.epoch, "best", MARK)] if view.best is not None else []
    would = [(view.would_stop, "would stop", OTHER)] if view.would_stop is not None else []
    return best + would
