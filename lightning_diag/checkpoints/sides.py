"""One side of a comparison: tensors under canonical names, with their samples."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_diag.checkpoints.content import is_constant
from lightning_diag.checkpoints.names import canonical_names, fold_weight_norm, is_statistic
from lightning_diag.checkpoints.samples import SAMPLES, Taken, take


@dataclass(frozen=True)
class Side:
    """Tensors of a checkpoint or of a module.

    Attributes:
        tensors: by canonical name, in order; original: canonical -> name as given.
        samples: some values of every weight (on the CPU); sums: over the rows of those on another device.
        constant: names of tensors whose samples are all one number.
        weights: names that can prove something: floating point, two elements at least, no statistic, no buffer.
        count: samples asked for per tensor.
    """

    tensors: Mapping[str, Tensor]
    original: Mapping[str, str]
    samples: Mapping[str, Tensor]
    sums: Mapping[str, Tensor]
    constant: frozenset[str]
    weights: tuple[str, ...]
    count: int = SAMPLES

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return tuple(self.tensors[name].shape)

    def numel(self, name: str) -> int:
        """Elements of a tensor."""
        return self.tensors[name].numel()

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights."""
        return {name: self.shape(name) for name in self.weights}

    def storage(self, name: str) -> tuple[object, ...]:
        """What tied tensors have in common: the same memory, read in the same way."""
        tensor = self.tensors[name]
        return (tensor.device, tensor.data_ptr(), tuple(tensor.shape), tuple(tensor.stride()))


def make_sides(
    checkpoint: Mapping[str, Tensor],
    model: Mapping[str, Tensor],
    buffers: Collection[str] = (),
    count: int = SAMPLES,
    known: Mapping[int, Taken] | None = None,
    *,
    full: bool = True,
) -> tuple[Side, Side]:
    """Both sides; weight norm is folded where only one of them has it.

    Args:
        checkpoint: tensors of the checkpoint by name.
        model: tensors of the model by name.
        buffers: names in ``model`` that are buffers.
        count: samples per tensor.
        known: what was taken of the model already, by the ``id`` of the tensor.
        full: every value is to be compared, so sum what is on another device.
    """
    first, first_names = _canonical(checkpoint)
    second, second_names = _canonical(model)
    if _must_fold(first, second) or _must_fold(second, first):
        first, second = fold_weight_norm(first), fold_weight_norm(second)
    not_weights = {short for short, name in second_names.items() if name in set(buffers)}
    return (
        _side(first, first_names, set(), count, {}, full=full),
        _side(second, second_names, not_weights, count, known or {}, full=full),
    )


def _canonical(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    usable = {name: tensor for name, tensor in state.items() if is_usable(tensor)}
    short = canonical_names(usable)
    return {short[name]: tensor for name, tensor in usable.items()}, {short[name]: name for name in usable}


def is_usable(tensor: Tensor) -> bool:
    """Whether a tensor has values that can be read."""
    plain = tensor.layout is torch.strided and not tensor.is_quantized and not tensor.is_complex()
    return plain and tensor.numel() > 0 and tensor.device.type != "meta"


def _must_fold(state: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether one side has weight norm and the other neither its names nor, under whatever name, its norms."""
    norms = [g for name, g in state.items() if name.endswith("_g") and name[:-2] + "_v" in state]
    named = any(name.endswith("_g") and name[:-2] + "_v" in other for name in other)
    shapes = {t.shape for t in other.values()}
    return bool(norms) and not named and any(g.shape not in shapes for g in norms)


def _side(
    tensors: dict[str, Tensor],
    names: dict[str, str],
    not_weights: set[str],
    count: int,
    known: Mapping[int, Taken],
    *,
    full: bool,
) -> Side:
    weights = tuple(name for name, t in tensors.items() if name not in not_weights and _is_weight(name, t))
    fresh = take({name: tensors[name] for name in weights if id(tensors[name]) not in known}, count, sums=full)
    taken = {name: fresh[name] if name in fresh else known[id(tensors[name])] for name in weights}
    samples = {name: found.samples for name, found in taken.items()}
    sums = {name: found.sums for name, found in taken.items() if found.sums is not None}
    constant = frozenset(name for name, values in samples.items() if is_constant(values))
    original = {name: names.get(name, name) for name in tensors}
    return Side(tensors, original, samples, sums, constant, weights, count)


def _is_weight(name: str, tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.numel() >= 2 and not is_statistic(name)
