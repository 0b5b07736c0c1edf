"""Recall of each class over the epochs, and the confusion matrix."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lightning_diag.history import ClassRow, RunHistory, StageRecord
from lightning_diag.report import numbers
from lightning_diag.report.escape import name
from lightning_diag.report.figures.style import (
    FAINT,
    INK,
    MARK,
    NORMAL,
    ON_COLOUR,
    SMALL,
    WIDTH,
    alpha_image,
    bare,
    figure,
)
from lightning_diag.report.view import NUMBERS_TO, View, interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROWS = 100
"""Classes in the heat map; of more, those whose recall is surely lowest at the end."""
COLUMNS = 120
"""Evaluations in the heat map, evenly chosen of more."""
SORTED_FROM = 13
"""With so many classes they are sorted by their last recall; few keep the order of the data set."""
MOST_CONFUSED = 24
"""Classes of a matrix made from recorded pairs, where the full one was too large to keep."""
ROW_HEIGHT = 0.135
"""Inches of a row at which its name is still legible."""
NAME = 26


def recall(view: View) -> Figure | None:
    """The heat map, where rows per class were kept for two evaluations or more."""
    kept = [(e, s) for e, s in view.history.stage("val") if s.classes]
    if len(kept) < 2:
        return None
    columns = _evenly(kept, COLUMNS)
    rows = _rows(kept[-1][1])
    if len(rows) < 2:
        return None
    table = [_recalls(stage) for _, stage in columns]
    shares = [[column.get(row.index, math.nan) for column in table] for row in rows]
    if not any(share > 0 for row in shares for share in row):
        return None
    made = figure(0.75 + max(0.22 if len(rows) < 30 else ROW_HEIGHT, 0.6 / len(rows)) * len(rows))
    axes = made.add_subplot()
    alpha_image(axes, shares)
    bare(axes)
    axes.set_title(
        pad=14, label=_recall_title(rows, kept[-1][1], missing=any(math.isnan(v) for row in shares for v in row))
    )
    _class_names(view, axes, rows)
    _epoch_ticks(axes, [epoch for epoch, _ in columns])
    _last_counts(axes, rows, len(columns))
    _mark_best(view, axes, [epoch for epoch, _ in columns])
    return made


def _evenly(items: list[tuple[int, StageRecord]], most: int) -> list[tuple[int, StageRecord]]:
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _rows(last: StageRecord) -> list[ClassRow]:
    supported = [row for row in last.classes if row.support]
    if len(supported) < SORTED_FROM:
        return supported
    surely_low = sorted(supported, key=lambda row: (interval(row.recall).high, -row.support))[:ROWS]
    return sorted(surely_low, key=lambda row: (row.recall.rate, -row.support))


def _recalls(stage: StageRecord) -> dict[int, float]:
    """Recall by class, from the columns: many evaluations of many classes are more rows than should be made."""
    index, support, _, correct = stage.classes.columns()
    return {i: k / n if n else math.nan for i, n, k in zip(index, support, correct, strict=True)}


def _recall_title(rows: list[ClassRow], last: StageRecord, *, missing: bool) -> str:
    total = sum(1 for row in last.classes if row.support)
    which = f", the {len(rows)} lowest of {total:,} classes" if len(rows) < total else ""
    return f"recall on validation{which} (pale 0 %, full colour 100 %{', grey: no samples' if missing else ''})"


def _class_names(view: View, axes: Axes, rows: list[ClassRow]) -> None:
    size = SMALL if len(rows) < 30 else 6.0
    axes.set_yticks(range(len(rows)), [name(view.label(row.index), NAME) for row in rows], fontsize=size)


def _epoch_ticks(axes: Axes, epochs: list[int]) -> None:
    step = max(1, math.ceil(len(epochs) / 12))
    at = list(range(0, len(epochs), step))
    axes.set_xticks(at, [str(epochs[i]) for i in at])
    axes.set_xlabel("epoch")


def _last_counts(axes: Axes, rows: list[ClassRow], columns: int) -> None:
    """What each row rests on, right of it."""
    size = SMALL if len(rows) < 30 else 6.0
    for at, row in enumerate(rows):
        axes.annotate(numbers.of(row.recall), (columns - 0.5, at), xytext=(4, 0), textcoords="offset points", va="center",
                      fontsize=size, color=INK, annotation_clip=False)  # fmt: skip


def _mark_best(view: View, axes: Axes, epochs: list[int]) -> None:
    if view.best is not None and view.best.epoch in epochs and len(view.evaluated) > 1:
        at = epochs.index(view.best.epoch)
        axes.axvline(at, color=MARK, linewidth=1.2, linestyle=(0, (2, 2)))
        axes.annotate("best", (at, 1), xycoords=("data", "axes fraction"), xytext=(0, 2), textcoords="offset points", color=MARK,
                      fontsize=SMALL, ha="center", va="bottom", annotation_clip=False)  # fmt: skip


def confusion(view: View) -> Figure | None:
    """The last matrix, rows in shares of their class; of many classes the most confused ones."""
    found = _matrix(view.history)
    if found is None:
        return None
    epoch, indices, counts, which = found
    size = len(indices)
    side = min(WIDTH, max(3.2, 0.27 * size + 1.6))
    made = figure(side * 0.92, side)
    axes = made.add_subplot()
    alpha_image(axes, [[n / (sum(row) or 1) for n in row] for row in counts])
    bare(axes)
    made.suptitle(  # over the whole figure: with few classes the axes are narrower than the words
        f"confusion on validation, epoch {epoch}{which}", x=0.01, ha="left", fontsize=NORMAL
    )
    font = SMALL if size <= 30 else 5.5
    labels = [name(view.label(i), NAME if size < 30 else 16) for i in indices]
    upright = 0 if max(map(len, labels)) <= 3 else 90
    axes.set_xticks(range(size), labels, rotation=upright, fontsize=font)
    axes.set_yticks(range(size), labels, fontsize=font)
    axes.set_xlabel("predicted")
    axes.set_ylabel("target")
    _cell_edges(axes, size)
    if size <= NUMBERS_TO:
        _cell_numbers(axes, counts)
    return made


def _matrix(history: RunHistory) -> tuple[int, list[int], list[list[int]], str] | None:
    """(epoch, class indices, counts, what is shown) of the last evaluation with more than one class."""
    stages = history.stage("val")
    epoch, stage = next(((e, s) for e, s in reversed(stages) if s.matrix or s.confusions), (0, None))
    if stage is None:
        return None
    if stage.matrix:
        rows = list(stage.matrix)
        kept = [i for i, row in enumerate(rows) if sum(row) or any(r[i] for r in rows)]
        counts = [[rows[i][j] for j in kept] for i in kept]
        return (epoch, kept, counts, "") if len(kept) > 1 else None
    return _from_pairs(epoch, stage)


def _from_pairs(epoch: int, stage: StageRecord) -> tuple[int, list[int], list[list[int]], str] | None:
    """The classes of the most frequent pairs; the diagonal is filled from the class rows."""
    kept: list[int] = []
    for pair in stage.confusions:
        kept += [i for i in (pair.target, pair.predicted) if i not in kept]
        if len(kept) >= MOST_CONFUSED:
            break
    kept = sorted(kept[:MOST_CONFUSED])
    place = {index: at for at, index in enumerate(kept)}
    counts = [[0] * len(kept) for _ in kept]
    for pair in stage.confusions:
        if pair.target in place and pair.predicted in place:
            counts[place[pair.target]][place[pair.predicted]] = pair.count
    for row in stage.classes:
        if row.index in place:
            counts[place[row.index]][place[row.index]] = row.correct
    return (epoch, kept, counts, f", {len(kept)} most confused classes") if len(kept) > 1 else None


def _cell_edges(axes: Axes, size: int) -> None:
    """Hairlines between the cells, so that an empty row is still a row."""
    for at in range(size + 1):
        axes.axhline(at - 0.5, color=FAINT, linewidth=0.3, alpha=0.5)
        axes.axvline(at - 0.5, color=FAINT, linewidth=0.3, alpha=0.5)


def _cell_numbers(axes: Axes, counts: list[list[int]]) -> None:
    for i, row in enumerate(counts):
        for j, n in enumerate(row):
            if n:
                colour = ON_COLOUR if n / sum(row) > 0.55 else INK
                axes.text(j, i, f"{n:,}", ha="center", va="center", color=colour, fontsize=SMALL if n < 10_000 else 5.5)
