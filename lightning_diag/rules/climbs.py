"""Where the learning rate was raised."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

from lightning_diag.history import Series


@dataclass(frozen=True, kw_only=True)
class Climb:
    """One rise of the learning rate, over one epoch or several in a row.

    Attributes:
        before: last epoch with the old rate. epoch: first with a higher one. top: last of the rise.
        low, high: the old rate, and that of ``top``.
    """

    before: int
    epoch: int
    top: int
    low: float
    high: float


def climbs(lrs: Series, rise: float) -> list[Climb]:
    """Every rise by the factor ``rise`` from one epoch to the next; a warm-up that rises several times in a row is one."""
    out: list[Climb] = []
    for (before, low), (epoch, high) in itertools.pairwise(lrs):
        if low <= 0 or high < rise * low:
            continue
        if out and out[-1].top == before:
            out[-1] = replace(out[-1], top=epoch, high=high)
        else:
            out.append(Climb(before=before, epoch=epoch, top=epoch, low=low, high=high))
    return out
