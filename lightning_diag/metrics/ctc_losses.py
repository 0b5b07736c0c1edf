"""CTC losses of single steps: held on their device, summed once in a while."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_diag.metrics.ctc_frames import NOTHING, CTCCall

HELD_STEPS = 256
"""Losses held before they are added up."""
RECENT_STEPS = 75
"""Losses per token of single steps that are kept."""


class StepLosses:
    """Losses with the lines or tokens they are a mean or a sum of.

    Attributes:
        recent: mean loss per token of the last :data:`RECENT_STEPS` steps, oldest first, after :meth:`take`.
    """

    def __init__(self) -> None:
        self.recent = torch.zeros(0)
        self._held: list[tuple[Tensor, int, Tensor]] = []

    @property
    def full(self) -> bool:
        """Whether it is time to :meth:`take`."""
        return len(self._held) >= HELD_STEPS

    def add(self, call: CTCCall, impossible: Tensor, loss: Tensor, reduction: str) -> None:
        """Hold the loss of a step; ``zero_infinity`` counts lines without a path as zero, so they weigh nothing.

        Args:
            call: the loss call.
            impossible: (N,) lines without a path.
            loss: what it returned.
            reduction: ``mean``, ``sum`` or ``none``.
        """
        if loss.dim() > 0:
            terms = loss.reshape(-1) / call.target_lengths.clamp(min=1)
            # without zero_infinity an infinite loss must stay visible
            total = terms.masked_fill(impossible, 0.0).sum() if call.zero_infinity else terms.sum()
            self._held.append((total, 1, call.lines - impossible.sum()))
        elif reduction == "sum":
            self._held.append((loss, 1, call.target_lengths.masked_fill(impossible, 0).sum()))
        else:
            self._held.append((loss, call.lines, call.lines - impossible.sum()))

    def take(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """Sum of the finite losses, their weight, and the number of the others; then hold nothing."""
        if not self._held:
            return None
        losses = torch.stack([loss.float() for loss, _, _ in self._held])
        scales = torch.tensor([scale for _, scale, _ in self._held]).to(losses.device, non_blocking=True)
        weights = torch.stack([weight for _, _, weight in self._held]).to(losses.device)
        totals = losses * scales
        finite = torch.isfinite(totals)
        self.recent = torch.cat((self.recent.to(losses.device), totals / weights.clamp(min=1)))[-RECENT_STEPS:]
        self._held = []
        return torch.where(finite, totals, 0.0).sum(), torch.where(finite, weights, 0).sum(), (~finite).sum()

    def drop(self) -> None:
        """Forget what is held; the recent losses stay."""
        self._held = []


def losses_again(call: CTCCall) -> Tensor:
    """The loss of each line (N,), for callers that have none (custom kernels); lines without a path count as zero."""
    classes = call.log_probs.shape[2]
    fits = (call.targets == NOTHING) | ((call.targets >= 0) & (call.targets < classes))
    targets = torch.where(fits, call.targets.clamp(min=0), call.blank)
    losses = F.ctc_loss(
        call.log_probs.float(), targets, call.input_lengths, call.target_lengths, blank=call.blank, reduction="none"
    )
    return torch.where(torch.isfinite(losses), losses, 0.0)
