"""What a module gives to its loss: logits, probabilities, or something normalised over the wrong axis."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

KEPT_STEPS = 4
KEPT_ROWS = 64
KEPT_SCORES = 2**16
"""Scores kept per step (256 KiB in float32): a slice of the batch is enough to see how it is normalised."""
TOLERANCE = 1e-2
"""Half precision rounds a sum of probabilities by up to about 1e-2; logits miss it by more than 1."""
RANGED_STEPS = 128
"""Steps whose values widen the range: a network that gives logits has denied some class by then."""
MIDDLE = (0.25, 0.75)
"""Mean of the first values of a sigmoid: its input has a spread below 1 at the start, logits of a network a mean near 0."""


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """How the outputs of the first steps were normalised.

    Attributes:
        are_probabilities: outputs given as logits were already probabilities.
        class_axis_ok: False when log-probabilities sum to one over the samples instead of the classes; None when the
            loss does not tell.
    """

    are_probabilities: bool | None = None
    class_axis_ok: bool | None = None


class OutputWatch:
    """Keeps slices of the first outputs on their device and reads them once, between epochs."""

    def __init__(self) -> None:
        self._kept: list[tuple[Tensor, int, str]] = []
        self._left = KEPT_STEPS
        self._start: Tensor | None = None
        self._range: tuple[Tensor, Tensor] | None = None
        self._steps = 0

    def widen(self, preds: Tensor) -> None:
        """Take values that were given as logits into their range, without synchronisation."""
        values = preds.detach().reshape(-1)[:KEPT_SCORES].float()
        if self._steps >= RANGED_STEPS or not values.numel():
            return
        low, high = values.aminmax()
        if self._range is None:
            self._start, self._range = values.mean(), (low, high)
        else:
            self._range = torch.minimum(self._range[0], low), torch.maximum(self._range[1], high)
        self._steps += 1

    @property
    def wants_scores(self) -> bool:
        """Whether :meth:`step` takes another one."""
        return self._left > 0

    @property
    def wants_range(self) -> bool:
        """Whether :meth:`widen` takes another one."""
        return self._steps < RANGED_STEPS

    def step(self, preds: Tensor, kind: str, class_dim: int) -> None:
        """Keep a slice of ``preds`` (class scores on ``class_dim``), without synchronisation."""
        if self._left <= 0:
            return
        self._left -= 1
        if preds.dim() < 2 or class_dim < 0:
            return
        # normalisation over the samples shows only on the whole batch
        whole = preds.dim() == 2 and preds.numel() <= KEPT_SCORES
        self._kept.append(((preds if whole else preds[:KEPT_ROWS]).detach().float().clone(), class_dim, kind))

    def read(self) -> Outputs:
        """What the kept outputs say; all of them must agree."""
        bounded = self._bounded()
        if not self._kept:
            return Outputs(are_probabilities=bounded)
        logits = [(scores, dim) for scores, dim, kind in self._kept if kind == "logits"]
        logs = [(scores, dim) for scores, dim, kind in self._kept if kind == "log_probs"]
        return Outputs(
            are_probabilities=bool(bounded)
            or (all(_sums_to_one(s, d) and bool((s >= 0).all()) for s, d in logits) if logits else None),
            class_axis_ok=_axis_ok(logs) if logs else None,
        )

    def _bounded(self) -> bool | None:
        """Whether all values of all steps were shares that began around one half; None when none was given.

        Logits stray below 0 as soon as one class is to be denied. A sigmoid keeps within 0 and 1 and begins near 0.5.
        """
        if self._range is None or self._start is None:
            return None
        low, high, start = (float(v) for v in (*self._range, self._start))
        return self._steps >= KEPT_STEPS and low >= 0.0 and high <= 1.0 and MIDDLE[0] <= start <= MIDDLE[1]


def _axis_ok(logs: list[tuple[Tensor, int]]) -> bool | None:
    if all(_sums_to_one(scores.exp(), dim) for scores, dim in logs):
        return True
    other = all(scores.dim() == 2 and _sums_to_one(scores.exp(), 1 - dim) for scores, dim in logs)
    return False if other else None


def _sums_to_one(scores: Tensor, dim: int) -> bool:
    total = scores.sum(dim)
    return bool(torch.isfinite(total).all()) and float((total - 1).abs().max()) < TOLERANCE
