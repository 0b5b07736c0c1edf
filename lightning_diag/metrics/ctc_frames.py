"""One call of a CTC loss, brought into one layout, and what its frames say: tensors in, tensors out, no synchronisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Lengths = Tensor | Sequence[int] | int
NOTHING = -1
"""Marks frames that emit no token and padding of targets, in integer tensors."""


@dataclass(frozen=True, kw_only=True)
class CTCCall:
    """The arguments of one CTC loss call, padded and on one device.

    Attributes:
        log_probs: (T, N, C), detached.
        targets: (N, S), int64, padded with :data:`NOTHING`.
        input_lengths, target_lengths: (N,), int64.
        blank: index of the blank in the loss; zero_infinity: as given to the loss.
        padded: whether the targets were given padded, (N, S), and not one after the other.
    """

    log_probs: Tensor
    targets: Tensor
    input_lengths: Tensor
    target_lengths: Tensor
    blank: int
    zero_infinity: bool
    padded: bool

    @property
    def lines(self) -> int:
        """Lines of the batch."""
        return int(self.log_probs.shape[1])

    def some(self, start: int, step: int) -> CTCCall:
        """Every ``step``-th line, from line ``start``."""
        return CTCCall(
            log_probs=self.log_probs[:, start::step],
            targets=self.targets[start::step],
            input_lengths=self.input_lengths[start::step],
            target_lengths=self.target_lengths[start::step],
            blank=self.blank,
            zero_infinity=self.zero_infinity,
            padded=self.padded,
        )


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
    scores = log_probs.detach()
    if scores.dim() == 2:
        scores = scores.unsqueeze(1)
    if scores.dim() != 3:
        raise ValueError(f"log_probs has shape {tuple(log_probs.shape)}: expected (T, N, C) or (T, C)")
    raw = torch.as_tensor(targets).detach()
    lengths = _lengths(target_lengths, scores.shape[1], "target_lengths")
    frames = _lengths(input_lengths, scores.shape[1], "input_lengths").to(scores.device, non_blocking=True)
    padded = raw.dim() == 2
    # the longest target, where it can be read without waiting for a device; else a bound: what is longer has no path
    widest = int(lengths.max()) if lengths.device.type == "cpu" else min(raw.numel(), scores.shape[0] + 1)
    lengths = lengths.to(scores.device, non_blocking=True)
    raw = raw.to(scores.device, torch.int64, non_blocking=True)
    rows = raw if padded else _rows(raw, lengths, max(widest, 1))
    inside = torch.arange(rows.shape[1], device=scores.device) < lengths[:, None]
    return CTCCall(
        log_probs=scores,
        # a negative target is out of range; it must not look like padding
        targets=torch.where(inside, torch.where(rows < 0, rows - 1, rows), NOTHING),
        input_lengths=frames,
        target_lengths=lengths,
        blank=blank,
        zero_infinity=zero_infinity,
        padded=padded,
    )


def _lengths(given: Lengths, lines: int, name: str) -> Tensor:
    """Lengths (N,) as int64, where they are."""
    lengths = torch.as_tensor(given, dtype=torch.int64).detach().reshape(-1)
    if lengths.numel() != lines:
        raise ValueError(f"{name} has {lengths.numel()} entries for {lines} lines: expected one per line")
    return lengths


def _rows(flat: Tensor, lengths: Tensor, width: int) -> Tensor:
    """Targets given one after the other, as rows (N, width); what lies beyond a length is arbitrary."""
    flat = flat.reshape(-1)
    if flat.numel() == 0:
        return flat.new_full((len(lengths), 1), NOTHING)
    starts = lengths.cumsum(0) - lengths
    index = starts[:, None] + torch.arange(width, device=flat.device)
    return flat[index.clamp(max=flat.numel() - 1)]


def repeats(call: CTCCall) -> Tensor:
    """Adjacent equal tokens of each line (N,): each needs a blank between, so one frame more."""
    here = call.targets[:, 1:]
    return ((here == call.targets[:, :-1]) & (here != NOTHING)).sum(1)


def infeasible(call: CTCCall) -> Tensor:
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
