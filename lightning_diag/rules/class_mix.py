"""Whether training and validation hold their classes in the same shares, and accuracy at equal shares.

A balanced sampler draws the hard classes more often than validation holds them: its training accuracy is then lower than
that of validation although nothing is wrong.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from lightning_diag.history import ClassRows, Count, RunHistory
from lightning_diag.rules.reading import ALPHA, cells, class_counts


def balancing(history: RunHistory) -> str:
    """What to advise against classes of unequal size: a sampler only where none draws by weight already."""
    weights = "class weights in the loss"
    return weights if history.context.data.train.redrawn else f"{weights} or a balanced sampler"


MIX = (
    "training draws the classes in other shares than validation holds them, which alone can put validation ahead by as "
    "much, and recalls by class were not recorded in both"
)
"""Why nothing is said where the shares can have made the difference."""


def as_in_validation(train: ClassRows, val: ClassRows) -> Count | None:
    """Training accuracy if its classes had the shares of validation; None where rows are missing, or samples have several labels.

    The recalls of training weighed by the supports of validation. The number of samples is the effective one of such a
    weighing, ``1 / sum(share^2 / n)`` (Kish 1965): a class that is rare in training and frequent in validation counts much.
    """
    if not cells(train) or not cells(val):
        return None
    recalls = {row.index: row.recall for row in train if row.support}
    shares = {row.index: row.support for row in val if row.support}
    total = sum(shares.values())
    if not total or not shares.keys() <= recalls.keys():
        return None
    rate = sum(support / total * recalls[i].rate for i, support in shares.items())
    n = round(1 / sum((support / total) ** 2 / recalls[i].n for i, support in shares.items()))
    return Count(k=round(rate * n), n=n)


def mix_apart(history: RunHistory) -> float:
    """By how much accuracy can differ because the classes have other shares in training than in validation.

    The total variation distance of the shares where they differ beyond chance (chi-square test of homogeneity), else 0.
    """
    train, val = class_counts(history, "train"), class_counts(history, "val")
    pairs = [pair for pair in itertools.zip_longest(train, val, fillvalue=0) if sum(pair)]
    a, b = sum(train), sum(val)
    if not a or not b or len(pairs) < 2 or _same_shares(pairs, a, b) >= ALPHA:
        return 0.0
    return sum(abs(x / a - y / b) for x, y in pairs) / 2


def _same_shares(pairs: Sequence[tuple[int, int]], a: int, b: int) -> float:
    """p-value that two tables of counts, of ``a`` and ``b`` in all, come from the same shares."""
    from scipy.special import gammaincc

    square = sum((x * b - y * a) ** 2 / ((x + y) * a * b) for x, y in pairs)
    return float(gammaincc((len(pairs) - 1) / 2, square / 2))
