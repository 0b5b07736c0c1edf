"""The sums that CTC signals are made of, and how a call adds to them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lightning_diag.metrics.ctc_frames import NOTHING, CTCCall, CTCTargets

COUNTS = (
    "steps", "lines", "impossible", "target_tokens", "blank_targets", "out_of_range", "frames_all",
    "frames_given", "loss_weight", "nonfinite_losses",
    "read_lines", "read_frames", "read_tokens", "blank_frames", "emitted", "empty",
    "probed_frames", "badly_normed", "pinned", "nonfinite_frames",
    "decoded", "exact", "edit_tokens", "substitutions", "deletions", "insertions", "distinct",
)  # fmt: skip
"""Whole-number sums. The first row is counted in every step, the rest on the lines and frames that are read."""
REALS = ("loss", "blank_posterior", "entropy")
NORM_TOLERANCE = 0.05
"""Largest |sum of probabilities - 1| of a log-softmax: 0.0007 in float16 and 0.007 in bfloat16 were measured."""
PINNED = (0.99, 1.001)
"""Range of log-probabilities within a frame that softmax twice ends at: probabilities 0..1 give exactly 1."""


def target_counts(joint: CTCTargets, impossible: Tensor, blank: int, classes: int) -> dict[str, Tensor]:
    """What every step counts: it needs the targets and lengths alone.

    Args:
        joint: targets of one or several steps.
        impossible: (N,) lines without a path.
        blank: index of the blank in the loss.
        classes: outputs, the blank included.
    """
    targets = joint.targets
    outside = (targets < NOTHING) | (targets >= classes)
    return {
        "impossible": impossible.sum(),
        "target_tokens": (targets != NOTHING).sum(),
        "blank_targets": (targets == blank).sum(),
        "out_of_range": outside.sum(),
        "frames_given": joint.input_lengths.sum(),
    }


def frame_counts(call: CTCCall, inside: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Summed entropy of the frames' distributions in units of ln(outputs), and frames of each kind.

    Args:
        call: the loss call.
        inside: (T, N) frames within the input lengths.
        step: reads every ``step``-th frame.
    """
    scores, counted = call.log_probs[::step].float(), inside[::step]
    masses = scores.exp()
    # p ln p is 0 where p is 0; the clamp only keeps -inf out of the product
    entropy = -(masses * scores.clamp(min=-1e4)).sum(-1) / math.log(max(scores.shape[2], 2))
    spread = scores.amax(-1) - scores.amin(-1)
    total = masses.sum(-1)
    return torch.where(counted, entropy, 0.0).sum().nan_to_num(0.0), {
        "probed_frames": counted.sum(),
        "badly_normed": (((total - 1).abs() > NORM_TOLERANCE) & counted).sum(),
        "nonfinite_frames": (~torch.isfinite(total) & counted).sum(),
        "pinned": ((spread >= PINNED[0]) & (spread <= PINNED[1]) & counted).sum(),
    }
