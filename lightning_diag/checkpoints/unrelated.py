"""Two networks that have nothing in common: a wrong path looks like this, and no mended load would help."""

from __future__ import annotations

from collections.abc import Iterable

from lightning_diag.checkpoints.comparison import Comparison, Row
from lightning_diag.words import listed, percent

FEW = 0.25
"""Names, and weights in shapes of both sides, below which two networks are called unrelated: any two classifiers share a
bias of some width. A renamed network keeps its shapes, one of another width its names."""
SHOWN = 3


def is_unrelated(comparison: Comparison) -> bool:
    """Whether hardly a name or a shape agrees, and no value."""
    ours, theirs = _sizes(comparison)
    if not ours or not theirs or comparison.having("equal", "uninformative"):
        return False
    alike = sum(_alike(row) for row in comparison.rows)
    return comparison.shape_fit < FEW and alike < FEW * min(ours, theirs)


def explain_unrelated(comparison: Comparison, module: str) -> str:
    """What was compared, how much of it agrees, and what a wrong path looks like."""
    ours, theirs = _sizes(comparison)
    pairs = [row for row in comparison.having("different") if not row.by_content]
    weights = sum(row.numel for row in pairs)
    shares = [percent(weights / total) for total in (comparison.checkpoint_numel, comparison.model_numel)]
    agree = f"{len(pairs)} agree in the end of the name and in shape" if pairs else "none agree in name and shape"
    held = f" ({shares[0]} and {shares[1]} of the weights)" if pairs else ""
    there = [*(str(row.source) for row in comparison.rows if row.source), *comparison.unused]
    return (
        f"The two look unrelated: of the {theirs} tensors of the checkpoint and the {ours} of {module}, {agree}{held}, "
        f"and none in value. The checkpoint has {_names(there)}; the other side has {_names(row.name for row in comparison.rows)}. "
        "A wrong path looks like this: the checkpoint that belongs to a model has its names, perhaps after a prefix, or its shapes. "
        "Check the paths, and which part of the file and of the model is meant."
    )


def _sizes(comparison: Comparison) -> tuple[int, int]:
    used = {row.source for row in comparison.rows if row.source is not None}
    return len(comparison.rows), len(used) + len(comparison.unused)


def _alike(row: Row) -> bool:
    """Whether the names agree in more than their last word: every layer has a weight."""
    if row.source is None or row.by_content:
        return False
    return row.name == row.source or row.name.split(".")[-2:] == row.source.split(".")[-2:]


def _names(names: Iterable[str]) -> str:
    return listed(list(dict.fromkeys(names)), SHOWN)
