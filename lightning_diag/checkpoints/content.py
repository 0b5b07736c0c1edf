"""Whether two tensors hold the same numbers: by samples, and in full, without copying either."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_diag.checkpoints.samples import fetch, row_sums

CHUNK = 1 << 20
"""Elements compared at a time where a conversion needs memory (4 MB of float32)."""

LOWER: tuple[torch.dtype, ...] = (torch.float16, torch.bfloat16)
ROUNDED_TO: tuple[torch.dtype, ...] = (*LOWER, torch.float8_e4m3fn, torch.float8_e5m2)
"""Precisions that weights may have passed through."""

LEFT = 0.1
"""Least share of a pruned tensor that must be left: what is left, to the last bit, is the proof."""


def equal_precision(a: Tensor, b: Tensor) -> torch.dtype | None:
    """The precision at which ``a`` (checkpoint) and ``b`` (model) are the same values, None where they differ.

    Loading casts the checkpoint to the model's dtype, so that is tried first. Then the lower precision that either
    side has passed through: a model that was cast to bfloat16 and back holds float32 numbers with 8 significant bits.
    """
    if not a.is_floating_point() or not b.is_floating_point():
        return b.dtype if torch.equal(a.to(b.dtype), b) else None
    if _same(a.to(b.dtype), b):
        return b.dtype
    for dtype in dict.fromkeys((a.dtype, *ROUNDED_TO)):
        if dtype.itemsize < max(a.dtype.itemsize, b.dtype.itemsize) and _same(a.to(dtype), b.to(dtype)):
            rounded = _same(a.to(dtype).to(a.dtype), a) or _same(b.to(dtype).to(b.dtype), b)
            if rounded and _survives(a, dtype):
                return dtype
    return None


def _survives(values: Tensor, dtype: torch.dtype) -> bool:
    """Whether rounding leaves something to compare.

    In 8 bits trained norm weights become 1 and trained biases 0: what every fresh layer has.
    """
    rounded = values.to(dtype).float()
    most_left = 2 * int(rounded.count_nonzero()) >= int(values.count_nonzero())
    return most_left and (is_constant(values) or not is_constant(rounded))


def _same(a: Tensor, b: Tensor) -> bool:
    if a.dtype.itemsize == 1:  # float8 types have no comparison
        a, b = a.float(), b.float()
    return bool(((a == b) | ((a != a) & (b != b))).all())  # noqa: PLR0124  (NaN equals NaN here)


def is_pruned(theirs: Tensor, ours: Tensor) -> bool:
    """Whether every value is the checkpoint's or zero, and enough of them are the checkpoint's."""
    kept = theirs.to(ours.dtype) == ours
    left = kept & (ours != 0)
    return bool((kept | (ours == 0)).all()) and int(left.sum()) >= LEFT * len(ours)


def is_scaled(theirs: Tensor, ours: Tensor, row: Tensor) -> bool:
    """Whether the two differ by a positive factor per output alone, as after folding a batch norm into a kernel.

    Args:
        theirs: samples of the checkpoint.
        ours: samples of the model.
        row: output (first dimension) that each sample belongs to.
    """
    x, y = theirs.double(), ours.double()
    sums = torch.zeros(4, int(row.max()) + 1, dtype=torch.float64)
    sums.index_add_(1, row, torch.stack((x * y, x * x, y * y, torch.ones_like(x))))
    dot, first, second, count = sums
    told = (count > 2) & (first > 0) & (second > 0)
    angles = dot[told] / (first[told] * second[told]).sqrt()
    # float32 leaves 1e-7 in the cosine; three strange values are so much alike once in 10,000 rows, and all rows must be
    return bool(count[told].sum() > len(x) / 2 and (angles > 1 - 1e-6).all())


def is_sine_table(tensor: Tensor, samples: Tensor) -> bool:
    """Whether a table of positions is made of sines and cosines: computed, so the same in a network that nothing was loaded into.

    Each angle gives ``sin^2 + cos^2 = 1`` somewhere in its row, so the squares of a row of ``d`` values add up to ``d / 2`` (or
    to 0, in the row of a class token), in whatever order they stand.

    Args:
        tensor: on the CPU.
        samples: of it; only where they look like it the rest is read.
    """
    some = samples.float()
    if tensor.dim() < 2 or not (some.abs() <= 1).all() or abs(float(some.square().mean()) - 0.5) > 0.2:
        return False
    squares = tensor.float().square().mean(-1)
    near = (squares - 0.5).abs() < 0.01
    return bool((near | (squares == 0)).all()) and bool(near.any())


def is_constant(values: Tensor) -> bool:
    """Whether all values are the same number; also true for fewer than two."""
    return values.numel() < 2 or bool((values == values[0]).all())


@dataclass(frozen=True)
class Pair:
    """Two tensors whose samples agree.

    Attributes:
        checkpoint: on the CPU. model: the same shape, on any device.
        precision: at which the samples agree.
        sums: of ``model``'s rows where it is on another device (see :class:`~lightning_diag.checkpoints.samples.Taken`).
    """

    checkpoint: Tensor
    model: Tensor
    precision: torch.dtype
    sums: Tensor | None = None


def differ_in_full(pairs: Sequence[Pair]) -> list[bool]:
    """Does any other value differ?

    On the CPU the two are compared directly, without a copy where the dtypes agree. From another device nothing is asked:
    the sums over the model's rows came with the samples, and are formed here from the checkpoint. Only where the model
    holds more precise numbers than the checkpoint, so that it must be rounded there first, the device is waited for a
    second time, for all such tensors at once.
    """
    answers = [_differs(pair) for pair in pairs]
    open_pairs = [pair for pair, answer in zip(pairs, answers, strict=True) if answer is None]
    rounded = iter(fetch([row_sums(pair.model.to(pair.precision)) for pair in open_pairs]))
    return [
        not torch.equal(next(rounded), sums_as(pair.checkpoint, pair.precision)) if answer is None else answer
        for pair, answer in zip(pairs, answers, strict=True)
    ]


def _differs(pair: Pair) -> bool | None:
    """None where only the device can tell."""
    theirs, ours = pair.checkpoint, pair.model
    if pair.sums is not None:
        if torch.equal(sums_as(theirs, pair.precision, ours.dtype), pair.sums):
            return False
        return True if pair.precision == ours.dtype else None
    if theirs.dtype == ours.dtype == pair.precision and torch.equal(theirs, ours):
        return False
    return not all(_same(x.to(pair.precision), y.to(pair.precision)) for x, y in _chunks(theirs, ours))


def sums_as(tensor: Tensor, *dtypes: torch.dtype) -> Tensor:
    """:func:`row_sums` after casts."""
    parts = []
    for part, _ in _chunks(tensor, tensor):
        for dtype in dtypes:
            part = part.to(dtype)  # noqa: PLW2901  (one cast after the other)
        parts.append(row_sums(part))
    return torch.cat(parts) if tensor.dim() > 1 else sum(parts[1:], parts[0])


def _chunks(a: Tensor, b: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
    if a.numel() <= CHUNK or a.dim() == 0:
        yield a, b
        return
    rows = max(1, CHUNK * a.shape[0] // a.numel())
    yield from zip(torch.split(a, rows), torch.split(b, rows), strict=True)


@dataclass(frozen=True)
class Distance:
    """Sums over sampled values, scaled to the whole tensor, from which cosine and relative L2 follow.

    Attributes:
        dot: of checkpoint and model; checkpoint, model: their squared norms; difference: squared norm of the difference.
    """

    dot: float = 0.0
    checkpoint: float = 0.0
    model: float = 0.0
    difference: float = 0.0

    def __add__(self, other: Distance) -> Distance:
        return Distance(
            self.dot + other.dot,
            self.checkpoint + other.checkpoint,
            self.model + other.model,
            self.difference + other.difference,
        )

    @property
    def cosine(self) -> float | None:
        """Cosine of the angle between the two; None where one is zero or not finite."""
        scale = (self.checkpoint * self.model) ** 0.5
        return self.dot / scale if 0.0 < scale < float("inf") else None

    @property
    def relative_l2(self) -> float | None:
        """``|model - checkpoint| / |checkpoint|``; None where the checkpoint is zero or not finite."""
        ok = 0.0 < self.checkpoint < float("inf")
        return (self.difference / self.checkpoint) ** 0.5 if ok else None


def distance(a: Tensor, b: Tensor, numel: int) -> Distance:
    """Distance of the samples ``a`` (checkpoint) and ``b`` (model) of a tensor with ``numel`` elements."""
    x = a.double().nan_to_num()
    if a.dtype == b.dtype and torch.equal(a, b):
        norm = float(x @ x) * numel / max(1, len(x))
        return Distance(norm, norm, norm, 0.0)
    y = b.double().nan_to_num()
    sums = torch.stack([x @ y, x @ x, y @ y, (y - x) @ (y - x)]) * (numel / max(1, len(x)))
    dot, first, second, difference = sums.tolist()
    return Distance(dot, first, second, difference)


def content_key(shape: Iterable[int], samples: Tensor, dtype: torch.dtype) -> tuple[object, ...]:
    """A key that is the same for tensors with the same shape and the same samples at ``dtype``."""
    return (tuple(shape), dtype, samples[:64].to(dtype).float().numpy().tobytes())
