"""Loss, the metric that counts with its intervals, and the learning rate below them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lightning_diag.history import EpochRecord
from lightning_diag.report import numbers
from lightning_diag.report.figures.style import (
    FAINT,
    INK,
    MARK,
    RATE,
    SMALL,
    TRAIN,
    VAL,
    figure,
    label_ends,
    lay_out,
    reduced,
    whole_epochs,
)  # fmt: skip
from lightning_diag.report.view import LARGEST, Points, View, interval, is_fraction, shown
from lightning_diag.rules.independence import as_samples
from lightning_diag.rules.reading import trivial_rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOG_FROM = 30.0
"""A loss whose largest value is this many times its smallest is drawn on a logarithmic axis."""
EVENTS = {"resume": "resumed", "lr_restart": "restart", "would_stop": "would stop", "stop": "stopped", "exception": "crashed",
          "interrupted": "interrupted"}  # fmt: skip
MOST_EVENTS = 8
"""Marked events of one kind; a schedule that restarts more often shows that in its own curve."""

FEW_POINTS = 40
"""Points of a curve up to which each is marked."""

Line = tuple[str, str, str]  # signal, label, colour
LOSSES: tuple[list[Line], str] = ([("train/loss", "training", TRAIN), ("val/loss", "validation", VAL)], "loss")
LEARNING_RATE: tuple[list[Line], str] = ([("lr", "", RATE)], "learning rate")


def curves(view: View) -> Figure | None:
    """The figure, or None when nothing was measured more than once."""
    panels = [panel for panel in (LOSSES, _metric(view), LEARNING_RATE) if panel]
    panels = [(lines, name) for lines, name in panels if any(len(view.points(s)) for s, _, _ in lines)]
    if not panels or len(view.history.epochs) < 2:
        return None
    heights = [0.55 if name == "learning rate" else 1.0 for _, name in panels]
    made = figure(0.5 + 2.0 * sum(heights))
    grid = made.add_gridspec(len(panels), 1, height_ratios=heights)
    first: Axes | None = None
    for row, (lines, name) in enumerate(panels):
        axes = made.add_subplot(grid[row], sharex=first)
        first = first or axes
        axes.set_title(name)
        axes.margins(x=0.03)
        _panel(view, axes, lines, name)
        axes.tick_params(labelbottom=row == len(panels) - 1)
    made.axes[-1].set_xlabel("epoch")
    whole_epochs(made.axes[-1])
    _finish(view, made)
    return made


def _metric(view: View) -> tuple[list[Line], str] | None:
    """The monitored metric with its training side; none when that is the loss, which has its panel."""
    signal, _ = view.metric
    if not signal or signal in {"val/loss", "train/loss"}:
        return None
    other = signal.replace("val", "train", 1)
    lines = [(other, "training", TRAIN)] if other != signal else []
    return [*lines, (signal, "validation" if "val" in signal else view.title(signal), VAL)], _metric_title(view, signal)


def _metric_title(view: View, signal: str) -> str:
    name = view.title(signal).removeprefix("validation ").removesuffix(" on validation")
    return f"{name}, with 95 % intervals" if view.count(view.final, signal) else name


def _panel(view: View, axes: Axes, lines: list[Line], name: str) -> None:
    for signal, _, colour in lines:
        _line(axes, view.stretches(signal), colour)
    if name == "learning rate":
        _rate_axis(axes, view.points("lr"))
    elif name == "loss":
        _loss_axis(axes, [view.points(s) for s, _, _ in lines])
        _loss_baseline(view, axes)
    else:
        _metric_marks(view, axes, lines[-1][0])


def _line(axes: Axes, stretches: tuple[Points, ...], colour: str) -> None:
    """The curve; with few points each is marked, as the line between them was not measured, and so is one that stands alone."""
    few = sum(map(len, stretches)) <= FEW_POINTS
    for series in stretches:
        x, y = reduced(series.x, series.y)
        axes.plot(x, y, color=colour, marker="o" if few or len(x) == 1 else "", markersize=3.2)


def _rate_axis(axes: Axes, series: Points) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    if not len(series):
        return
    low, high = min(series.y), max(series.y)
    if low > 0 and high / low > LOG_FROM:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(bottom=0, top=1.15 * high or None)
        axes.locator_params(axis="y", nbins=3)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: numbers.rate(value)))


def _loss_axis(axes: Axes, found: list[Points]) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    values = [v for series in found for v in series.y]
    if values and min(values) > 0 and max(values) / min(values) > LOG_FROM:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    elif values and min(values) >= 0:
        axes.set_ylim(0, 1.08 * max(values) or 1)


def _loss_baseline(view: View, axes: Axes) -> None:
    baseline = view.history.unrecorded_baseline()
    if baseline is not None and baseline.loss is not None and baseline.epoch is not None:
        axes.plot([baseline.epoch], [baseline.loss], color=VAL, marker="D", markersize=5, markerfacecolor="none")


def _metric_marks(view: View, axes: Axes, signal: str) -> None:
    """Intervals as a band, the start as a point with its interval, target and chance as lines."""
    from matplotlib.ticker import FuncFormatter

    _band(view, axes, signal)
    baseline = view.history.unrecorded_baseline()
    if baseline is not None and signal == "val/acc" and baseline.correct is not None and baseline.epoch is not None:
        span, rate = interval(baseline.correct), baseline.correct.rate
        axes.errorbar([baseline.epoch], [rate], [[rate - span.low], [span.high - rate]], color=VAL, marker="D", markersize=5,
                      markerfacecolor="none", elinewidth=1, capsize=3)  # fmt: skip
    for value, _, colour in _levels(view, signal):
        axes.axhline(value, color=colour, linewidth=1.1, linestyle=(0, (5, 3)))
    if is_fraction(signal):
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g} %"))
        axes.set_ylim(*_fraction_limits(axes))


def _fraction_limits(axes: Axes) -> tuple[float, float]:
    """The range of the data, not beyond 0 and 1 by more than a margin, and never so narrow that noise fills it."""
    low, high = axes.get_ylim()
    low, high = min(low, high - 0.05), max(high, low + 0.05)
    low, high = max(-0.02, low), min(1.005, high) if high <= 1.3 else high
    return (low, high) if 0.02 <= high - low < 1e6 else (-0.02, 1.005)  # a log may hold anything under this name


def _levels(view: View, signal: str) -> list[tuple[float, str, str]]:
    """(value, name, colour) of the target and of chance as the rules compare with it, where it can be told from zero."""
    target, rate = view.history.context.target, trivial_rate(view.history)
    found = []
    if target is not None and target.metric == signal:
        found.append((target.value, f"target {shown(signal, target.value)}", MARK))
    single = view.history.context.task not in {"ctc", "multilabel"}  # one answer per sample
    if single and rate and signal == "val/acc" and 0.02 <= rate < 1:
        found.append((rate, f"chance {numbers.percent(rate)}", FAINT))
    return found


def _band(view: View, axes: Axes, signal: str) -> None:
    pairs = [(view.positions[id(r)], view.count(r, signal)) for r in view.history.epochs]
    taken = [(place, as_samples(view.history, count)) for place, count in pairs]
    known = [(place, interval(count)) for place, count in taken if count is not None and count.n]
    if len(known) < 2:
        return
    places = [place for place, _ in known]
    x, low = reduced(places, [span.low for _, span in known])
    _, high = reduced(places, [span.high for _, span in known])
    axes.fill_between(x, low, high, color=VAL, alpha=0.18, linewidth=0)


def _finish(view: View, made: Figure) -> None:
    """Events and line names, placed after the layout is known."""
    marks = list(_marks(view))
    for axes in made.axes:
        for epoch, _, colour in marks:
            axes.axvline(epoch, color=colour, linewidth=0.9, linestyle=(0, (1, 2)), zorder=0)
    lay_out(made)
    _write_marks(made.axes[0], marks)
    for axes in made.axes:
        ends = _ends(view, axes)
        if len(ends) > 1:
            label_ends(axes, ends)


def _ends(view: View, axes: Axes) -> list[tuple[float, float, str, str]]:
    name = axes.get_title(loc="left")
    panel = LOSSES if name == "loss" else _metric(view) if name != "learning rate" else None
    found = []
    for signal, label, colour in panel[0] if panel else []:
        series = view.points(signal)
        if len(series):
            found.append((series.x[-1], series.y[-1], label, colour))
    if found and panel is not None and name != "loss":
        end = float(axes.get_xlim()[1])
        found += [(end, value, text, colour) for value, text, colour in _levels(view, panel[0][-1][0])]
    return found


def _marks(view: View) -> Iterator[tuple[float, str, str]]:
    """(place, text, colour) of what happened, each once."""
    seen: dict[str, int] = {}
    losses = [name for name in view.history.signals() if name.endswith("/loss")]
    for record in view.history.epochs:
        at = view.positions[id(record)]
        for event in record.events:
            seen[event.kind] = seen.get(event.kind, 0) + 1
            if event.kind == "would_stop" and not view.saves(record):
                continue
            if event.kind in EVENTS and seen[event.kind] <= MOST_EVENTS:
                yield at, EVENTS[event.kind], FAINT
        if "nan" not in seen and _broken(view, record, losses):
            seen["nan"] = 1
            yield at, "not finite" if view.diverged is None else "diverged", INK
    if view.best is not None and len(view.evaluated) > 1:
        yield view.positions[id(view.best)], "best", MARK


def _broken(view: View, record: EpochRecord, losses: list[str]) -> bool:
    """Whether a loss of this record is not finite; of a run that diverged, whether it does so here."""
    broken = any(not abs(record.values.get(name, 0.0)) < LARGEST for name in losses)
    if view.diverged is None:
        return broken
    return record.epoch >= view.diverged and (broken or record.values.get("loss/nonfinite_steps", 0.0) > 0)


def _write_marks(axes: Axes, marks: list[tuple[float, str, str]]) -> None:
    """Names of events above the first panel; those that would touch go one line up."""
    width = axes.bbox.width * 72 / axes.figure.dpi
    taken = [5.0 * len(axes.get_title(loc="left"))]  # the first line begins with the title of the panel
    for epoch, text, colour in sorted(marks):
        at = float(axes.transAxes.inverted().transform(axes.transData.transform((epoch, 0)))[0]) * width
        half = 2.3 * len(text)
        level = next((i for i, end in enumerate(taken) if at - half > end + 4), len(taken))
        taken[level : level + 1] = [at + half]
        axes.annotate(text, (epoch, 1), xycoords=("data", "axes fraction"), xytext=(0, 8 + 9 * level if level else 2), textcoords="offset points",
                      color=colour, fontsize=SMALL, ha="center", va="bottom", annotation_clip=False)  # fmt: skip


__all__ = ["curves"]
