"""Looks into tensors while a stage is calibrated: the only place of capture that may wait for a device.

Every answer may be *unknown* (None): on a device whose synchronisations are forbidden or reported, and for tensors
without data.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

TOLERANCE = 1e-3
"""Slack of sums of probabilities: half precision keeps three digits."""

MAX_LOOK = 4_000_000
"""Largest tensor whose values are read; a calibration step of a large model is not made slower than that."""


def readable(*tensors: Tensor) -> bool:
    """Whether the values may be read now."""
    if any(tensor.is_cuda for tensor in tensors) and torch.cuda.get_sync_debug_mode():
        return False
    return all(0 < tensor.numel() <= MAX_LOOK and not tensor.is_meta for tensor in tensors)


def _ask(question: Callable[..., Tensor], *tensors: Tensor) -> bool | None:
    if not readable(*tensors):
        return None
    with torch.no_grad():
        return bool(question(*tensors))


def is_hard(target: Tensor) -> bool | None:
    """Whether a float target is 0 or 1 everywhere."""
    return _ask(lambda t: ((t == 0) | (t == 1)).all(), target)


def is_one_hot(target: Tensor, dim: int) -> bool | None:
    """Whether exactly one entry along ``dim`` is 1 and the rest 0."""
    return _ask(lambda t: (((t == 0) | (t == 1)).all()) & (t.sum(dim) == 1).all(), target)


def is_constant(target: Tensor) -> bool | None:
    """Whether all entries are equal (and there are several)."""
    return _ask(lambda t: (t == t.flatten()[0]).all(), target) if target.numel() > 1 else None


def is_positions(target: Tensor) -> bool | None:
    """Whether a target just numbers the samples 0, 1, 2, ... (in-batch contrastive losses)."""
    if target.dim() != 1 or target.shape[0] < 3:
        return None
    return _ask(lambda t: (t == torch.arange(len(t), device=t.device)).all(), target)


def in_range(target: Tensor, classes: int, ignore: int | None = -100) -> bool | None:
    """Whether integer targets are classes (or ignored)."""
    return _ask(lambda t: (((t >= 0) & (t < classes)) | (t == (-1 if ignore is None else ignore))).all(), target)


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors of one shape hold the same values; unknown counts as no."""
    if a.shape != b.shape or a.device != b.device:
        return False
    if a.is_floating_point() != b.is_floating_point():
        return False
    return bool(_ask(lambda x, y: torch.isclose(x, y.to(x.dtype), rtol=1e-5, atol=1e-6).all(), a, b))


def kind_of(preds: Tensor, class_dim: int) -> str | None:
    """``probs``, ``log_probs`` or ``logits`` from the range and the sums; None when the values cannot be read."""
    if not readable(preds):
        return None
    with torch.no_grad():
        values = preds.detach().float()
        if bool(((values >= 0) & (values <= 1)).all()):
            total = values.sum(class_dim) if class_dim >= 0 else None
            return "probs" if total is None or bool(((total - 1).abs() < TOLERANCE * 10).all()) else "logits"
        if class_dim >= 0 and bool((values <= 0).all()):
            return "log_probs" if bool((values.logsumexp(class_dim).abs() < TOLERANCE * 10).all()) else "logits"
    return "logits"
