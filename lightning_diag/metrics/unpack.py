"""From the packed vector of a stage to numbers with names."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lightning_diag.history import Paired
from lightning_diag.metrics.result import Floats, Ints, StageResult
from lightning_diag.metrics.tally import BINS, COLUMNS, NAMES, SUMS, Layout


def unpack(
    vector: Floats, layout: Layout, *, task: str | None, groups: Sequence[str], paired: Paired | None
) -> StageResult:
    """Name the entries of a packed vector.

    Args:
        vector: as :meth:`StageMetrics.packed` made it.
        layout: what lies where.
        task: the task that was counted.
        groups: names of the groups, in order.
        paired: of the sample memory.
    """
    counts = np.rint(vector[: layout.counts]).astype(np.int64)
    sums = vector[layout.counts : layout.counts + layout.sums]
    named = dict(zip(NAMES, counts[: len(NAMES)].tolist(), strict=True))
    summed = dict(zip(SUMS, sums[: len(SUMS)].tolist(), strict=True))
    bins = sums[len(SUMS) :].reshape(len(COLUMNS), BINS)
    edge = len(NAMES) + 2 * layout.groups
    pairs = counts[len(NAMES) : edge].reshape(2, layout.groups).T.tolist()
    classes, derived = _classes(counts[edge:], layout)
    if task != "multilabel":
        derived["out_of_range"] -= named["ignored"]
        named = {name: n + derived.get(name, 0) for name, n in named.items()}
    entropy = _mean(bins[3].sum(), bins[0].sum())
    return StageResult(
        task=task,
        n=named.pop("counted"),
        loss=summed["loss"] / summed["loss_weight"] if summed["loss_weight"] else math.nan,
        ece=float(np.abs(bins[2] - bins[1]).sum() / bins[0].sum()) if bins[0].sum() else None,
        confidence=_mean(bins[1].sum(), bins[0].sum()),
        entropy=None if entropy is None else entropy / math.log(max(layout.classes, 2)),
        label_accuracy=_mean(summed["label_hits"], summed["label_n"]),
        groups=tuple((name, k, n) for name, (k, n) in zip(groups, pairs, strict=False)),
        paired=paired,
        classes=layout.classes,
        table=classes.get("table"),
        support=classes["support"],
        predicted=classes["predicted"],
        hits=classes["hits"],
        **named,
    )


def _classes(cells: Ints, layout: Layout) -> tuple[dict[str, Ints], dict[str, int]]:
    """Columns per class, and the totals that follow from them.

    Expected calibration error and entropy need no more than the bins; see :class:`~lightning_diag.metrics.tally.Tally`
    for the spare slots at both ends.
    """
    side = layout.side
    if layout.table:
        table = cells.reshape(side, side)
        rows = np.stack([table.sum(1), table[1:-1].sum(0), np.diagonal(table)])
        columns = {"table": table[1:-1, 1:-1].copy()}
    else:
        rows, columns = cells.reshape(3, side), {}
    support, predicted, hits = (row[1:-1].copy() for row in rows)
    counted = int(support.sum())
    totals = {
        "counted": counted,
        "correct": int(hits.sum()),
        "out_of_range": int(rows[0, 0] + rows[0, -1]),
        "nonfinite": counted - int(predicted.sum()),
    }
    return {"support": support, "predicted": predicted, "hits": hits, **columns}, totals


def _mean(total: float, n: float) -> float | None:
    return float(total / n) if n else None
