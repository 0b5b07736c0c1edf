"""The trivial CTC loss: what the best output that ignores the input would lose. It makes a CTC loss free of scale."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

MOST_CELLS = 1_500_000
"""Cells (frames x states, over the lines) of one evaluation: bounds the cost to about a second in all on one core."""


@dataclass(frozen=True, kw_only=True)
class TrivialLoss:
    """The loss of an output that is the same in every frame, in nats.

    Attributes:
        per_line: mean over lines of loss / target length (as ``reduction="mean"`` reports it).
        per_token: sum of losses / sum of target lengths (for ``reduction="sum"``).
        blank: mass of the blank in that output.
        lines: lines it rests on.
    """

    per_line: float
    per_token: float
    blank: float
    lines: int


def trivial_loss(
    targets: list[list[int]], frames: list[int], support: dict[int, int], *, grid: int = 49, most_lines: int = 200
) -> TrivialLoss | None:
    """CTC loss of the best output that ignores the input: blank mass on a grid, the rest by the frequency of the tokens.

    Args:
        targets: tokens of each line.
        frames: input length of each line.
        support: how often each token occurs; the frequencies of the output.
        grid: number of blank masses tried, evenly in (0, 1). The loss has one minimum over them.
        most_lines: upper bound of the lines used; fewer for long ones.

    Returns:
        None when no line has both tokens and enough frames.
    """
    picked = _usable(targets, frames, support)
    if not picked:
        return None
    cost = max(len(t) for t, _ in picked) * 2 * max(f for _, f in picked)
    picked = picked[: max(8, min(most_lines, MOST_CELLS // cost))]
    table = _Table(picked, support)
    best = _lowest(table, grid)
    losses = table.losses(best)
    return TrivialLoss(
        per_line=float((losses / table.lengths).mean()),
        per_token=float(losses.sum() / table.lengths.sum()),
        blank=best,
        lines=len(picked),
    )


def _usable(targets: list[list[int]], frames: list[int], support: dict[int, int]) -> list[tuple[list[int], int]]:
    """Lines with tokens, known frequencies and a path."""
    pairs = zip(targets, frames, strict=True)
    return [(t, f) for t, f in pairs if t and _needed(t) <= f and all(support.get(k, 0) > 0 for k in t)]


def _needed(tokens: list[int]) -> int:
    """Frames that a line needs: tokens, and one between equal neighbours."""
    return len(tokens) + sum(a == b for a, b in itertools.pairwise(tokens))


class _Table:
    """Lines relabelled by their own tokens, so that memory grows with the line and not with the vocabulary."""

    def __init__(self, lines: list[tuple[list[int], int]], support: dict[int, int]) -> None:
        total = sum(support.values())
        width = max(len(set(t)) for t, _ in lines) + 1
        self.frames = torch.tensor([f for _, f in lines])
        self.lengths = torch.tensor([len(t) for t, _ in lines])
        self.targets = torch.zeros(len(lines), int(self.lengths.max()), dtype=torch.int64)
        self.shares = torch.full((len(lines), width), -math.inf)
        for row, (tokens, _) in enumerate(lines):
            own = {token: i for i, token in enumerate(dict.fromkeys(tokens), 1)}
            self.targets[row, : len(tokens)] = torch.tensor([own[t] for t in tokens])
            self.shares[row, 1 : len(own) + 1] = torch.tensor([math.log(support[t] / total) for t in own])

    def losses(self, blank: float) -> Tensor:
        """Loss of each line when every frame is blank with this probability."""
        scores = self.shares + math.log1p(-blank)
        scores[:, 0] = math.log(blank)
        scores = scores.clamp(min=-1e4)  # unused columns; -inf would give NaN inside the loss
        spread = scores.expand(int(self.frames.max()), -1, -1).contiguous()
        return F.ctc_loss(spread, self.targets, self.frames, self.lengths, reduction="none")


def _lowest(table: _Table, grid: int) -> float:
    """Blank mass of the lowest loss: every seventh point of the grid, then all around the best of them."""
    masses = [(i + 1) / (grid + 1) for i in range(grid)]
    seen: dict[int, float] = {}

    def value(i: int) -> float:
        if i not in seen:
            seen[i] = float((table.losses(masses[i]) / table.lengths).mean())
        return seen[i]

    coarse = min(range(3, grid, 7), key=value, default=0)
    near = range(max(0, coarse - 6), min(grid, coarse + 7))
    return masses[min(near, key=value)]
