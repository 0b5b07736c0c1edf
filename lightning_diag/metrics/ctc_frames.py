"""One call of a CTC loss, brought into one layout, and what its frames say: tensors in, tensors out, no synchronisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Lengths = Tensor | Sequence[int] | int
NOTHING = -1
"""Marks frames that emit no token and padding of targets, in integer tensors."""


@dataclass(frozen=True, kw_only=True)
class CTCTargets:
    """The targets and lengths of one or several CTC loss calls.

    Attributes:
        targets: (N, S), int64, padded with :data:`NOTHING`; a negative label is kept one lower, it is no padding.
        input_lengths, target_lengths: (N,), int64.
    """

    targets: Tensor
    input_lengths: Tensor
    target_lengths: Tensor


@dataclass(frozen=True, kw_only=True)
class CTCCall(CTCTargets):
    """The arguments of one CTC loss call, padded and on one device.

    Attributes:
        log_probs: (T, N, C), detached.
        blank: index of the blank in the loss; zero_infinity: as given to the loss.
        padded: whether the targets were given padded, (N, S), and not one after the other.
    """

    log_probs: Tensor
    blank: int
    zero_infinity: bool
    padded: bool

    @property
    def lines(self) -> int:
        """Lines of the batch."""
        return int(self.log_probs.shape[1])


@dataclass(slots=True)
class RawCall:
    """Targets and lengths of one CTC loss call as they were given, checked for their shapes.

    Attributes:
        targets: (N, S) or (sum of the lengths,).
        input_lengths, target_lengths: (N,).
        lines, frames: N and T.
        width: largest target length, where it can be read without waiting for a device; else a bound. What is longer than
            its frames has no path anyway.
    """

    targets: Tensor
    input_lengths: Tensor
    target_lengths: Tensor
    lines: int
    frames: int
    width: int

    def some(self, start: int, step: int) -> RawCall:
        """Every ``step``-th line from line ``start``; the targets must be padded for that."""
        return RawCall(
            targets=self.targets[start::step],
            input_lengths=self.input_lengths[start::step],
            target_lengths=self.target_lengths[start::step],
            lines=len(range(start, self.lines, step)),
            frames=self.frames,
            width=self.width,
        )


def batched_scores(log_probs: Tensor) -> Tensor:
    """Log-probabilities (T, N, C), detached; one line (T, C) becomes a batch of one.

    Raises:
        ValueError: for any other number of dimensions.
    """
    scores = log_probs.detach()
    if scores.dim() == 2:
        scores = scores.unsqueeze(1)
    if scores.dim() != 3:
        raise ValueError(f"log_probs has shape {tuple(log_probs.shape)}: expected (T, N, C) or (T, C)")
    return scores


def raw_call(scores: Tensor, targets: Any, input_lengths: Lengths, target_lengths: Lengths) -> RawCall:
    """Check the shapes of a loss call; no operation on a device.

    Args:
        scores: (T, N, C), of :func:`batched_scores`; only its shape is looked at.
        targets: as given to the loss.
        input_lengths: as given to the loss.
        target_lengths: as given to the loss.

    Raises:
        ValueError: when they do not fit each other.
    """
    frames, lines, _ = scores.shape
    given = targets.detach() if isinstance(targets, Tensor) else torch.as_tensor(targets)
    tokens = _lengths(target_lengths, lines, "target_lengths")
    if given.dim() == 2:
        width = given.shape[1]
    elif tokens.device.type == "cpu":
        width = int(tokens.max())
    else:
        width = min(given.numel(), frames + 1)
    return RawCall(
        targets=given,
        input_lengths=_lengths(input_lengths, lines, "input_lengths"),
        target_lengths=tokens,
        lines=lines,
        frames=frames,
        width=width,
    )


def _lengths(given: Lengths, lines: int, name: str) -> Tensor:
    """Lengths (N,), where they are."""
    lengths = given.detach() if isinstance(given, Tensor) else torch.as_tensor(given)
    if lengths.dim() != 1:
        lengths = lengths.reshape(-1)
    if lengths.shape[0] != lines:
        raise ValueError(f"{name} has {lengths.shape[0]} entries for {lines} lines: expected one per line")
    return lengths


def padded_targets(calls: Sequence[RawCall], device: torch.device) -> CTCTargets:
    """Targets and lengths of several calls as one, on one device."""
    width = max(1, *(call.width for call in calls))
    lengths = _joined([call.target_lengths for call in calls], device)
    rows = _joined([_rows(call, width, device) for call in calls], device)
    inside = torch.arange(width, device=device) < lengths[:, None]
    # a negative label is out of range; it must not look like padding
    kept = torch.where(inside, torch.where(rows < 0, rows - 1, rows), NOTHING)
    return CTCTargets(
        targets=kept,
        input_lengths=_joined([call.input_lengths for call in calls], device),
        target_lengths=lengths,
    )


def _joined(parts: Sequence[Tensor], device: torch.device) -> Tensor:
    """One after the other, as int64 on the device; from the host without waiting."""
    if len({part.device for part in parts}) > 1:
        parts = [part.to(device, non_blocking=True) for part in parts]
    return torch.cat(list(parts)).to(device, torch.int64, non_blocking=True)


def _rows(call: RawCall, width: int, device: torch.device) -> Tensor:
    """Targets of one call as rows (N, width); what lies beyond a length is arbitrary."""
    given = call.targets
    if given.dim() == 2:
        return given if given.shape[1] == width else F.pad(given, (0, width - given.shape[1]), value=NOTHING)
    if given.numel() == 0:
        return given.new_full((call.lines, width), NOTHING)
    given = given.reshape(-1).to(device, non_blocking=True)
    lengths = call.target_lengths.to(device, torch.int64, non_blocking=True)
    starts = lengths.cumsum(0) - lengths
    index = starts[:, None] + torch.arange(width, device=device)
    return given[index.clamp(max=given.numel() - 1)]


def ctc_call(
    log_probs: Tensor,
    targets: Any,
    input_lengths: Lengths,
    target_lengths: Lengths,
    *,
    blank: int = 0,
    zero_infinity: bool = False,
) -> CTCCall:
    """Bring the arguments of :func:`torch.nn.functional.ctc_loss` into one layout.

    Args:
        log_probs: (T, N, C), or (T, C) for one line.
        targets: (N, S) padded, or (sum of the lengths,) one after the other.
        input_lengths: frames (N,), as a tensor, a sequence, or one number.
        target_lengths: tokens (N,), the same.
        blank: index of the blank in the loss.
        zero_infinity: as given to the loss.

    Raises:
        ValueError: when the shapes do not fit each other.
    """
    scores = batched_scores(log_probs)
    raw = raw_call(scores, targets, input_lengths, target_lengths)
    return full_call(scores, raw, blank, zero_infinity=zero_infinity)


def full_call(scores: Tensor, raw: RawCall, blank: int, *, zero_infinity: bool) -> CTCCall:
    """A raw call with its scores (T, N, C), and its targets padded."""
    joint = padded_targets([raw], scores.device)
    return CTCCall(
        log_probs=scores,
        targets=joint.targets,
        input_lengths=joint.input_lengths,
        target_lengths=joint.target_lengths,
        blank=blank,
        zero_infinity=zero_infinity,
        padded=raw.targets.dim() == 2,
    )


def some(call: CTCCall, start: int, step: int) -> CTCCall:
    """Every ``step``-th line of a call, from line ``start``."""
    return replace(
        call,
        log_probs=call.log_probs[:, start::step],
        targets=call.targets[start::step],
        input_lengths=call.input_lengths[start::step],
        target_lengths=call.target_lengths[start::step],
    )


def repeats(call: CTCTargets) -> Tensor:
    """Adjacent equal tokens of each line (N,): each needs a blank between, so one frame more."""
    here = call.targets[:, 1:]
    return ((here == call.targets[:, :-1]) & (here != NOTHING)).sum(1)


def infeasible(call: CTCTargets) -> Tensor:
    """Lines (N,) without any path: fewer frames than tokens and repeats (Graves et al., 2006); the loss is infinite there."""
    return call.input_lengths < call.target_lengths + repeats(call)


def greedy_path(call: CTCCall) -> Tensor:
    """Best token of each frame (T, N); :data:`NOTHING` beyond the input length."""
    path = call.log_probs.argmax(-1)
    inside = torch.arange(path.shape[0], device=path.device)[:, None] < call.input_lengths
    return torch.where(inside, path, NOTHING)


def emissions(path: Tensor, blank: int) -> Tensor:
    """Frames (T, N) of a greedy path at which a token is emitted: not blank, and not the token of the frame before."""
    fresh = torch.ones_like(path, dtype=torch.bool)
    fresh[1:] = path[1:] != path[:-1]
    return fresh & (path != blank) & (path != NOTHING)


def rows_of(values: Tensor) -> list[list[int]]:
    """The entries of each row (N, W) that are not :data:`NOTHING`, on the host."""
    return [row[row != NOTHING].tolist() for row in values.cpu().numpy()]


def greedy_decode(log_probs: Tensor, input_lengths: Lengths, *, blank: int = 0) -> list[list[int]]:
    """Greedy decoding: best token per frame, repeats merged, blanks dropped.

    Args:
        log_probs: (T, N, C).
        input_lengths: (N,).
        blank: index of the blank.
    """
    lines = log_probs.shape[1]
    call = ctc_call(log_probs, torch.zeros(lines, 1), input_lengths, [0] * lines, blank=blank)
    path = greedy_path(call)
    return rows_of(torch.where(emissions(path, blank), path, NOTHING).T)
