"""CTC losses per token of several steps at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_diag.metrics.ctc_frames import NOTHING, CTCCall, CTCTargets

RECENT_STEPS = 75
"""Losses per token of single steps that are kept."""


@dataclass(frozen=True, kw_only=True)
class StepLosses:
    """Losses of several steps.

    Attributes:
        totals: (k,) sum of the losses per token of a step's lines; under ``reduction="sum"`` the sum of the losses.
        weights: (k,) lines, or tokens, that the total is a sum over.
    """

    totals: Tensor
    weights: Tensor

    @property
    def per_token(self) -> Tensor:
        """Mean loss per token of each step (k,)."""
        return self.totals / self.weights.clamp(min=1)


def step_losses(
    losses: Sequence[Tensor],
    lines: Sequence[int],
    joint: CTCTargets,
    impossible: Tensor,
    *,
    reduction: str,
    hidden: bool,
) -> StepLosses:
    """What the loss calls of several steps returned, per token.

    Args:
        losses: what each returned: a scalar, or (N,) under ``reduction="none"``.
        lines: N of each step.
        joint: the targets of all steps.
        impossible: their lines without a path.
        reduction: ``mean``, ``sum`` or ``none``.
        hidden: whether ``zero_infinity`` counts lines without a path as zero; they weigh nothing then.
    """
    device = impossible.device
    counts = torch.tensor(lines).to(device, non_blocking=True)
    step = torch.arange(len(lines), device=device).repeat_interleave(counts, output_size=sum(lines))
    possible = ~impossible

    def per_step(values: Tensor) -> Tensor:
        return torch.zeros(len(lines), device=device, dtype=values.dtype).index_add_(0, step, values)

    if losses[0].dim() > 0:
        terms = torch.cat([loss.reshape(-1).float() for loss in losses]).to(device) / joint.target_lengths.clamp(min=1)
        # without zero_infinity an infinite loss must stay visible
        kept = terms.masked_fill(impossible, 0.0) if hidden else terms
        return StepLosses(totals=per_step(kept), weights=per_step(possible.to(torch.int64)))
    scalars = torch.stack([loss.float() for loss in losses]).to(device)
    if reduction == "sum":
        return StepLosses(totals=scalars, weights=per_step(joint.target_lengths * possible))
    return StepLosses(totals=scalars * counts, weights=per_step(possible.to(torch.int64)))


def losses_again(call: CTCCall) -> Tensor:
    """The loss of each line (N,), for callers that have none (custom kernels); lines without a path count as zero."""
    classes = call.log_probs.shape[2]
    fits = (call.targets == NOTHING) | ((call.targets >= 0) & (call.targets < classes))
    targets = torch.where(fits, call.targets.clamp(min=0), call.blank)
    losses = F.ctc_loss(
        call.log_probs.float(), targets, call.input_lengths, call.target_lengths, blank=call.blank, reduction="none"
    )
    return torch.where(torch.isfinite(losses), losses, 0.0)
