"""How answers spread over the classes, and whether the scores behind them tell more than the answers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lightning_diag.history import RunHistory
from lightning_diag.rules.reading import late, trivial_loss

DRAWS = 20
"""Simulated histograms: 20 answers over 20 classes spread by 9 %, their mean by 2 %, and more answers by less."""
BELOW = 0.9
"""Validation loss over the trivial one from which the scores tell something, as in ``reading.learned``."""


def effective(counts_of_class: Sequence[int]) -> float:
    """Exponential of the entropy of a histogram: 10 for ten equal classes, 1 for one."""
    total = sum(counts_of_class)
    return math.exp(-sum(c / total * math.log(c / total) for c in counts_of_class if c)) if total else 0.0


def dealt_out(support: Sequence[int], answers: int) -> float:
    """Mean effective number of classes of ``answers`` answers that are dealt out at random as the samples are."""
    import numpy as np

    drawn = np.random.default_rng(0).multinomial(answers, np.array(support) / sum(support), size=DRAWS) / answers
    return float(np.exp(-(drawn * np.log(np.where(drawn > 0, drawn, 1.0))).sum(1)).mean())


def scores_tell(history: RunHistory) -> bool:
    """Whether the loss is below that of the class frequencies: then the scores differ, and one class wins by its size.

    Where an event is rare and hard to foresee, never answering with it makes the fewest errors.
    """
    loss, trivial = history.series("val/loss").finite.values, trivial_loss(history)
    return bool(loss and trivial and late(loss) < BELOW * trivial)
