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

SEVERAL, MANY = 6, 8
"""Samples from which on an order among their targets is hardly chance: 1.5 % of six labels of six classes are a permutation, and
0.8 % of eight yes-or-no labels are two halves."""


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


def is_whole(target: Tensor) -> bool | None:
    """Whether a target holds whole numbers, be it as floats."""
    return True if not target.is_floating_point() else _ask(lambda t: (t == t.round()).all(), target)


def is_one_hot(target: Tensor, dim: int) -> bool | None:
    """Whether exactly one entry along ``dim`` is 1 and the rest 0."""
    return _ask(lambda t: (((t == 0) | (t == 1)).all()) & (t.sum(dim) == 1).all(), target)


def is_two_valued(target: Tensor) -> bool | None:
    """Whether no entry lies between the smallest and the largest."""
    return _ask(lambda t: ((t == t.min()) | (t == t.max())).all(), target)


def is_constant(target: Tensor) -> bool | None:
    """Whether all entries are equal (and there are several)."""
    return _ask(lambda t: (t == t.flatten()[0]).all(), target) if target.numel() > 1 else None


def is_positions(target: Tensor) -> bool | None:
    """Whether a target just numbers the samples 0, 1, 2, ... (in-batch contrastive losses)."""
    if target.dim() != 1 or target.shape[0] < 3:
        return None
    return _ask(lambda t: (t == torch.arange(len(t), device=t.device)).all(), target)


def is_pairing(target: Tensor, classes: int | None) -> bool | None:
    """Whether a target names the partner of each sample in the batch: it counts on with one jump, or permutes the samples.

    Args:
        target: shape (samples,).
        classes: columns of the predictions; as many as samples where they are similarities within the batch.
    """
    size = target.numel()
    if target.dim() != 1 or size < SEVERAL or target.is_floating_point() or not classes:
        return None
    if classes % size and classes != size - 1:  # all samples of one process or of several, with or without itself
        return False
    if _ask(lambda t: (t.diff() != 1).sum() <= 1, target):
        return True
    return classes == size and _ask(lambda t: (t.sort()[0].diff() == 1).all(), target)


def is_halves(target: Tensor) -> bool | None:
    """Whether the first half of the samples is all yes and the second all no, or the reverse: real and made samples."""
    size = target.shape[0] if target.dim() else 0
    if size < MANY or size % 2:
        return None
    return _ask(lambda t: _are_halves((t >= 0.5).reshape(2, -1)), target)


def _are_halves(yes: Tensor) -> Tensor:
    first, second = yes[0], yes[1]
    return (first == first[0]).all() & (second == second[0]).all() & (first[0] != second[0])


def is_decided(target: Tensor) -> bool | None:
    """Whether fractions come from yes and no (smoothed, voted, a resized mask): half of them lie at the two ends.

    Of maps also the upper end must hold more than what lies between: grey images and heat maps are mostly one ground.
    """
    return _ask(_decided, target)


def _decided(target: Tensor) -> Tensor:
    flat = target.flatten()
    low, high = (flat == flat.min()).sum(), (flat == flat.max()).sum()
    between = flat.numel() - low - high
    decided = (low + high >= between) & (flat.min() >= 0) & (flat.max() <= 1)
    return decided & (high >= between) if target.dim() > 2 else decided


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


def storage(tensor: Tensor) -> int:
    """Address of the memory behind a tensor; unique per object where there is none."""
    try:
        return tensor.untyped_storage().data_ptr() or id(tensor)
    except (RuntimeError, NotImplementedError):  # sparse and wrapper tensors have no storage
        return id(tensor)
