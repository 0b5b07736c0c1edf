"""How mixed the classes of a batch are, against what shuffling would give."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

DRAWS = 400
"""Shuffled batches drawn to know what purity to expect; the mean is then known to about 1 % of its spread."""
SMALLEST = 2
"""Batches with fewer samples are pure by definition."""

Longs = npt.NDArray[np.int64]


def purity(labels: Longs) -> float:
    """Share of a batch taken by its most common class."""
    return float(np.unique(labels, return_counts=True)[1].max() / len(labels))


def purity_facts(batches: list[Longs], seed: int = 0) -> dict[str, Any]:
    """Mean purity of the batches, what shuffling the same labels would give, and its spread.

    Args:
        batches: class indices per batch.
        seed: of the shuffled batches.

    Returns:
        Fields of :class:`~lightning_diag.history.SplitFacts`; empty when no batch is large enough.
    """
    usable = [b for b in batches if len(b) >= SMALLEST]
    if not usable:
        return {}
    values, counts = np.unique(np.concatenate(usable), return_counts=True)
    size = round(float(np.mean([len(b) for b in usable])))
    rng = np.random.default_rng(seed)
    draws = max(20, min(DRAWS, 400_000 // len(values)))  # many classes: fewer draws, bounded memory
    drawn = rng.multivariate_hypergeometric(counts, size, size=draws) if len(values) > 1 else None
    shares = np.ones(1) if drawn is None else drawn.max(1) / size
    return {
        "label_purity": float(np.mean([purity(b) for b in usable])),
        "purity_expected": float(shares.mean()),
        "purity_sd": float(shares.std() / len(usable) ** 0.5),
    }
