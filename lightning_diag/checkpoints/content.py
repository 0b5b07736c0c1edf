"""Whether two tensors hold the same numbers: by samples, and in full, without copying either."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SAMPLES = 1024
"""Values per tensor. Measured: 5 ms of CPU per 100 M parameters; a tensor that differs in 1 % of its values escapes all
1024 samples with probability 3e-5, and a reloaded tensor differs in all of them."""

RUN = 8
"""Neighbours sampled together: a memory map reads a page for each run, so few runs are cheap; 128 of them still miss a change of
5 % of the rows with a probability of 0.1 % only."""

CHUNK = 1 << 20
"""Elements compared at a time where a conversion needs memory (4 MB of float32)."""

LOWER: tuple[torch.dtype, ...] = (torch.float16, torch.bfloat16)
ROUNDED_TO: tuple[torch.dtype, ...] = (*LOWER, torch.float8_e4m3fn, torch.float8_e5m2)
"""Precisions that weights may have passed through."""

LEFT = 0.1
"""Least share of a pruned tensor that must be left: what is left, to the last bit, is the proof."""


def sample_index(numel: int, count: int = SAMPLES, device: torch.device | None = None) -> Tensor:
    """Evenly spaced positions, :data:`RUN` neighbours each.

    The step is odd, so that positions do not all fall into one column of a matrix.
    """
    if numel <= count:
        return torch.arange(numel, device=device)
    starts = torch.arange(0, numel - RUN + 1, (numel * RUN // count) | 1, device=device)
    return (starts.unsqueeze(1) + torch.arange(RUN, device=device)).reshape(-1)


def take_samples(state: Mapping[str, Tensor], count: int = SAMPLES) -> dict[str, Tensor]:
    """About ``count`` values of every tensor, on the CPU, in the tensor's own dtype.

    The values of one device and dtype travel together: one transfer, one synchronisation, however many tensors.
    """
    groups: dict[tuple[torch.device, torch.dtype], list[tuple[str, Tensor]]] = {}
    for name, tensor in state.items():
        groups.setdefault((tensor.device, tensor.dtype), []).append((name, _pick(tensor.detach(), count)))
    taken: dict[str, Tensor] = {}
    for rows in groups.values():
        together = torch.cat([values for _, values in rows]).cpu()
        parts = torch.split(together, [len(values) for _, values in rows])
        taken.update(zip((name for name, _ in rows), parts, strict=True))
    return taken


def _pick(tensor: Tensor, count: int) -> Tensor:
    if tensor.numel() == 0:
        return tensor.reshape(-1)
    index = sample_index(tensor.numel(), count, tensor.device)
    if tensor.is_contiguous():
        return tensor.view(-1).index_select(0, index)
    where = torch.unravel_index(index, tensor.shape)  # a reshape would copy the whole tensor
    return tensor[where]


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


def is_constant(values: Tensor) -> bool:
    """Whether all values are the same number; also true for fewer than two."""
    return values.numel() < 2 or bool((values == values[0]).all())


def differ_in_full(pairs: Sequence[tuple[Tensor, Tensor, torch.dtype]]) -> list[bool]:
    """For pairs whose samples are equal: does any other value differ?

    Nothing is copied on the CPU where the dtypes agree. For a model on another device every pair is one reduction
    there, and one synchronisation reads all the answers.

    Args:
        pairs: (checkpoint, model, precision to compare at); the same shape each.
    """
    answers: list[bool | Tensor] = [_differs(a, b, dtype) for a, b, dtype in pairs]
    waiting = [x for x in answers if isinstance(x, Tensor)]
    arrived = iter(torch.stack(waiting).cpu().tolist()) if waiting else iter(())
    return [bool(next(arrived)) if isinstance(x, Tensor) else x for x in answers]


def _differs(a: Tensor, b: Tensor, dtype: torch.dtype) -> bool | Tensor:
    if b.device.type != "cpu":
        moved = a.to(b.device, non_blocking=True).to(dtype)
        return (moved.nan_to_num() != b.to(dtype).nan_to_num()).any()
    if a.dtype == b.dtype == dtype and torch.equal(a, b):
        return False
    return not all(_same(x.to(dtype), y.to(dtype)) for x, y in _chunks(a, b))


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
