"""From the packed vector of a stage to numbers with names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lightning_diag.history import Paired
from lightning_diag.metrics.result import Floats, Ints, StageResult
from lightning_diag.metrics.tally import BINS, NAMES, SUMS, Layout


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
    edge = len(NAMES) + 2 * layout.groups
    pairs = counts[len(NAMES) : edge].reshape(2, layout.groups).T.tolist()
    return StageResult(
        task=task,
        n=named["counted"],
        loss=summed["loss"] / summed["loss_weight"] if summed["loss_weight"] else math.nan,
        ece=_ece(sums[len(SUMS) :].reshape(3, BINS)),
        confidence=_mean(summed["confidence"], summed["sure"]),
        entropy=_mean(summed["entropy"], summed["sure"]),
        label_accuracy=_mean(summed["label_hits"], summed["label_n"]),
        groups=tuple((name, k, n) for name, (k, n) in zip(groups, pairs, strict=False)),
        paired=paired,
        **{k: v for k, v in named.items() if k != "counted"},
        **_classes(counts[edge:], layout),
    )


def _classes(cells: Ints, layout: Layout) -> dict[str, Any]:
    side, classes = layout.classes + 1, layout.classes
    if layout.table:
        table = cells.reshape(side, side)
        return {
            "classes": classes,
            "support": table[:-1].sum(1),
            "predicted": table[:, :-1].sum(0),
            "hits": np.diagonal(table)[:-1].copy(),
            "table": table[:-1, :-1].copy(),
        }
    support, predicted, hits = cells.reshape(3, side)[:, :-1]
    return {"classes": classes, "support": support, "predicted": predicted, "hits": hits}


def _mean(total: float, n: float) -> float | None:
    return total / n if n else None


def _ece(bins: Floats) -> float | None:
    """Expected calibration error: sum over bins of share x |accuracy - confidence|."""
    n, confidence, right = bins
    return float(np.abs(right - confidence).sum() / n.sum()) if n.sum() else None
