"""Whether weights look as an initialiser left them.

Initialisers draw the entries of a matrix independently from one distribution, so rows and columns have equal variance
up to chance, and the mean is zero. Training gives some inputs and some units larger weights than others. Two variance
ratios test that, without knowing which initialiser was used.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

SIGMA = 5.0
"""Standard errors that a ratio may lie above 1. Over 1,000 matrices that flags a fresh one less than once in a
thousand models; orthogonal and sparse initialisations lie below 1, which is not held against them."""
ENTRIES = 2**16
"""Entries looked at per matrix: the first rows. More would not change a ratio that is off."""
SMALLEST = 256
"""Matrices with fewer entries say too little."""


def looks_fresh(parameters: Iterable[Tensor]) -> bool | None:
    """Whether nearly all (by size) weight matrices look freshly initialised.

    Args:
        parameters: weights; vectors (biases, scales) are left out.

    Returns:
        None when there is no matrix of at least :data:`SMALLEST` entries.
    """
    verdicts = [(p.numel(), matrix_fresh(p)) for p in parameters if p.dim() > 1 and p.numel() >= SMALLEST]
    total = sum(n for n, _ in verdicts)
    return sum(n for n, fresh in verdicts if fresh) >= 0.9 * total if total else None


@torch.no_grad()
def matrix_fresh(weight: Tensor) -> bool:
    """Whether the entries of one matrix look independent and identically distributed around zero.

    With independent entries the mean square of a row of ``m`` entries has variance ``(m4 - m2**2) / m``; the observed
    variance over ``r`` rows divided by that is 1 with a standard error of about ``sqrt(2 / (r - 1) + kurtosis / r)``.
    """
    flat = weight.detach().reshape(weight.shape[0], -1)
    matrix = flat[: max(2, ENTRIES // max(1, flat.shape[1]))].cpu().double()
    second = matrix.square().mean()
    if not math.isfinite(float(second)) or float(second) == 0.0:
        return False
    centred = bool(matrix.mean().abs() <= SIGMA * (second / matrix.numel()).sqrt())
    return centred and all(_even(side.square()) for side in (matrix, matrix.T) if min(side.shape) > 1)


def _even(squares: Tensor) -> bool:
    """Whether the row means of squares spread no more than chance makes them."""
    rows, width = squares.shape
    expected = squares.var() / width
    if float(expected) == 0.0:
        return True
    ratio = float(squares.mean(1).var()) / float(expected)
    tails = float((squares - squares.mean()).pow(4).mean() / squares.var().square()) - 3.0
    error = 2.0 / (rows - 1) + max(0.0, tails) / (rows * width)
    return ratio < 1.0 + SIGMA * math.sqrt(error)


def constant_share(module: nn.Module) -> float | None:
    """Share of the weight matrices whose entries are all equal (zero or constant initialisation).

    A last layer or a residual scale that starts at zero is common practice, so this counts matrices: a few do not
    matter.
    """
    matrices = [p.detach() for p in module.parameters() if p.dim() > 1 and p.numel() > 1]
    if not matrices:
        return None
    equal = [bool((m == m.reshape(-1)[0]).all()) for m in matrices]
    return sum(equal) / len(equal)
