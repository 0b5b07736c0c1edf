"""What the inputs alone allow: how often the nearest other sample has the same label.

The nearest neighbour needs no training and has no capacity to lack. Asymptotically its error is at most twice the least
error that any classifier can reach (Cover and Hart, 1967).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MOST = 500
"""Samples compared: 500 x 500 distances take milliseconds, and a rate is then known to 4 points."""
FEWEST = 30
"""Fewer samples have their neighbours too far away."""


def same_label_as_nearest(rows: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> tuple[int, int] | None:
    """Samples whose nearest other sample has their label, of those compared.

    Args:
        rows: (samples, features); each feature is standardised, those that do not vary are left out.
        labels: (samples,) class indices; negative ones are left out.

    Returns:
        (k, n), or None with fewer than :data:`FEWEST` samples, one class, or nothing finite that varies.
    """
    if rows.ndim != 2 or len(rows) != len(labels):
        return None
    usable = np.flatnonzero((labels >= 0) & np.isfinite(rows).all(1))
    chosen = usable[:: max(1, -(-len(usable) // MOST))]
    if len(chosen) < FEWEST or len(np.unique(labels[chosen])) < 2:
        return None
    points, answers = rows[chosen].astype(np.float64), labels[chosen]
    spread = points.std(0)
    if not (spread > 0).any():
        return None
    points = (points - points.mean(0))[:, spread > 0] / spread[spread > 0]
    squares = (points**2).sum(1)
    distance = squares[:, None] + squares[None, :] - 2 * points @ points.T
    np.fill_diagonal(distance, np.inf)
    return int((answers[distance.argmin(1)] == answers).sum()), len(points)
