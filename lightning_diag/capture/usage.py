"""Proof that a step really compares a label with a prediction, seen by watching the torch functions of one step.

A batch may hold labels that the loss never reads (self-supervised training), and a loss may use labels only to find
positives and negatives (metric learning). Pairing such labels with the network's output would be wrong. So during one
calibration step every torch function is noted: what was made from which leaf of the batch, and what from which tensor.
Afterwards a label counts as compared with predictions in one of the ways in :meth:`Usage.compared`.
"""

from __future__ import annotations

import contextlib
import math
import weakref
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lightning_diag.capture import values
from lightning_diag.capture.batch import leaves
from lightning_diag.capture.values import storage

MAX_OPS = 20_000
"""Functions noted in the one step."""

_PICKS = frozenset({"gather", "take_along_dim", "index_select", "nll_loss", "cross_entropy", "__getitem__", "index"})
_WRITES = frozenset({"scatter", "scatter_", "scatter_add", "scatter_add_"})
_DECIDES = frozenset({"argmax", "max", "topk", "sort", "argsort"})
_JOINS = frozenset({"cat", "concat", "concatenate", "stack", "hstack", "vstack", "__setitem__"})
_EMPTY = frozenset(
    {"zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "new_zeros", "new_full"}
)
_MIXES = frozenset(
    {
        "matmul",
        "mm",
        "bmm",
        "addmm",
        "baddbmm",
        "einsum",
        "linear",
        "tensordot",
        "dot",
        "inner",
        "outer",
        "cdist",
        "pairwise_distance",
        "cosine_similarity",
        "norm",
        "vector_norm",
        "__matmul__",
        "__rmatmul__",
        "conv1d",
        "conv2d",
        "conv3d",
        "embedding",
    }
)
"""Functions after which a column is no longer the column of the predictions: similarities, distances, further layers."""
_NORMALISES = frozenset(
    {
        "softmax",
        "log_softmax",
        "softmin",
        "gumbel_softmax",
        "logsumexp",
        "sigmoid",
        "sigmoid_",
        "logsigmoid",
        "log_sigmoid",
        "softplus",
        "exp",
        "exp_",
        "log",
        "log_",
        "log1p",
        "logaddexp",
        "log2",
    }
)
"""Functions that make probabilities, or the logarithms of them."""
_MARGINS = frozenset({"relu", "clamp", "clamp_min", "clamp_", "maximum"})
"""Functions of hinge losses over classes."""
_SELECTS = frozenset({"__getitem__", "select", "narrow", "unbind", "chunk", "split"})
_EQUALS = frozenset({"eq", "__eq__"})


@dataclass(frozen=True, slots=True)
class Op:
    """One call of a torch function.

    Attributes:
        name: of the function.
        inputs: nodes that went in. labels: those of them that are labels, as (node, leaf).
        outputs: nodes that came out.
    """

    name: str
    inputs: tuple[int, ...]
    labels: tuple[tuple[int, int], ...]
    outputs: tuple[int, ...]


@dataclass(slots=True)
class _Reach:
    """What was made of predictions without mixing their columns.

    Attributes:
        grown: all nodes. columns: those that still have the columns. single: one of them. decided: the class with the highest.
        normalised: whether probabilities were made of them (or margins), or they were made as such.
    """

    grown: set[int]
    columns: set[int]
    single: set[int] = field(default_factory=set)
    decided: set[int] = field(default_factory=set)
    normalised: bool = False


class Usage(TorchFunctionMode):
    """Notes the functions of one step; holds on to no tensor but the leaves of the batch and what is made of them alone."""

    def __init__(self, batch: Iterable[Tensor]) -> None:
        super().__init__()
        self._kept: list[Tensor] = list(batch)
        self._roots: dict[int, int] = {storage(leaf): storage(leaf) for leaf in self._kept}
        self._sizes = {storage(leaf): leaf.numel() for leaf in self._kept}
        self._coded: set[int] = set()  # storages of labels written as one column per class
        self._one: set[int] = set()  # storages that say which labels are one class
        self._nodes: dict[int, tuple[weakref.ref[Tensor], int]] = {}
        self._shapes: list[tuple[int, ...]] = []
        self._whole: list[bool] = []  # of each node: whether it holds integers
        self._is_coded: list[bool] = []
        self._is_one: list[bool] = []
        self._ops: list[Op] = []

    def enter(self) -> None:
        """Start following."""
        self.__enter__()  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def leave(self) -> None:
        """Stop following."""
        self.__exit__(None, None, None)  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call ``func`` as it would have been called, and note what met what."""
        result = func(*args, **(kwargs or {}))
        with contextlib.suppress(Exception):  # an error of ours must not reach the step; without proof no pair is used
            self._watch(getattr(func, "__name__", ""), (args, kwargs or {}), result)
        return result

    def _watch(self, name: str, given: object, result: object) -> None:
        if len(self._ops) > MAX_OPS or torch.compiler.is_compiling() or name in _EMPTY:
            return
        tensors, made = list(leaves(given).values()), list(leaves(result).values())
        if not made or not tensors:
            return
        labels = [t for t in tensors if storage(t) in self._roots]
        if labels:
            self._follow(name, labels, tensors, made)
        roots = tuple((self._node(t), self._roots[storage(t)]) for t in labels)
        self._ops.append(Op(name, tuple(map(self._node, tensors)), roots, tuple(map(self._node, made))))

    def _node(self, tensor: Tensor) -> int:
        """The number of a tensor; the same for the same object while it lives."""
        known = self._nodes.get(id(tensor))
        if known is not None and known[0]() is tensor:
            if storage(tensor) in self._coded:  # written into after it was first seen
                self._is_coded[known[1]] = True
            return known[1]
        self._nodes[id(tensor)] = weakref.ref(tensor), len(self._shapes)
        self._shapes.append(tuple(tensor.shape))
        self._whole.append(not tensor.is_floating_point() and tensor.dtype is not torch.bool)
        self._is_coded.append(storage(tensor) in self._coded)
        self._is_one.append(storage(tensor) in self._one)
        return len(self._shapes) - 1

    def _follow(self, name: str, labels: list[Tensor], tensors: list[Tensor], made: list[Tensor]) -> None:
        """A label reshaped, cast or written as columns is still the label; where it exceeds a rank is not."""
        label = next((t for t in labels if not t.is_floating_point()), labels[0])
        root = self._roots[storage(label)]
        alone = all(t.numel() == 1 or t is label for t in tensors)
        slices = name in _SELECTS and alone
        for out in made:
            coded = name == "one_hot" or (name in _WRITES and values.is_two_valued(out)) or _becomes_columns(label, out)
            if out.requires_grad or not (coded or alone) or (out.numel() < self._sizes[root] and not slices):
                continue
            one = storage(label) in self._one or (name in _EQUALS and not label.is_floating_point())
            if out.dtype is torch.bool and not (coded or one or label.is_floating_point()):
                continue
            if storage(out) not in self._roots:
                self._roots[storage(out)] = root
                self._kept.append(out)
            if coded or storage(label) in self._coded:
                self._coded.add(storage(out))
            elif one:
                self._one.add(storage(out))

    def compared(self, target: Tensor, preds: Tensor, class_dim: int) -> bool:
        """Whether the label behind ``target`` was compared with ``preds``, or with what was made of them column by column.

        With several classes: the label picks entries of probabilities (or within margins), one column per class meets the
        predictions entry by entry, or the label meets the class that was decided on. With one score per position: the label
        meets a probability entry by entry.
        """
        root = self._roots.get(storage(target))
        known = self._nodes.get(id(preds))
        if root is None or known is None or known[0]() is not preds:
            return False
        classes = None if class_dim < 0 or target.shape == preds.shape else preds.shape[class_dim]
        reach = self._reach(known[1], classes)
        meetings = (
            (op, [node for node, leaf in op.labels if leaf == root], [n for n in op.inputs if n in reach.grown])
            for op in self._ops
            if op.labels and op.name not in _JOINS
        )
        meets = self._by_entry if classes is None else self._by_class
        return any(
            meets(op, mine, [n for n in theirs if n not in mine], reach) for op, mine, theirs in meetings if mine
        )

    def _by_entry(self, op: Op, mine: list[int], theirs: list[int], reach: _Reach) -> bool:
        del op
        sizes = {math.prod(self._shapes[m]) for m in mine}
        return reach.normalised and any(math.prod(self._shapes[n]) in sizes for n in theirs)

    def _by_class(self, op: Op, mine: list[int], theirs: list[int], reach: _Reach) -> bool:
        if any(n in reach.decided for n in theirs):
            return True
        for n in theirs:
            alike = [m for m in mine if self._shapes[m] == self._shapes[n]]
            if n in reach.columns:
                picked = op.name in _PICKS and any(self._whole[m] for m in mine)
                if (picked and reach.normalised) or any(self._is_coded[m] for m in alike):
                    return True
            elif n in reach.single and reach.normalised and any(self._is_one[m] or self._is_coded[m] for m in alike):
                return True
        return False

    def _reach(self, start: int, classes: int | None) -> _Reach:
        """What was made of a tensor with ``classes`` columns; of one score per position for None."""
        size, reach = math.prod(self._shapes[start]), _Reach({start}, {start})
        for op in self._ops:
            known = [n for n in op.inputs if n in reach.grown]
            if not known or op.name in _MIXES:
                continue
            whole = any(n in reach.columns for n in known)
            choice = op.name in _DECIDES or any(n in reach.decided for n in known)
            single = (whole and op.name in _SELECTS) or (not whole and any(n in reach.single for n in known))
            makes = op.name in _NORMALISES or (classes is not None and op.name in _MARGINS)
            reach.normalised |= makes and (whole or single)
            for out in set(op.outputs) - {start}:
                reach.grown.add(out)
                shape = self._shapes[out]
                if choice and self._whole[out]:
                    reach.decided.add(out)
                elif classes is None or (len(shape) > 1 and (classes in shape or math.prod(shape) == size)):
                    reach.columns.add(out)
                elif single:
                    reach.single.add(out)
        reach.normalised |= self._made_normalised(start)
        return reach

    def _made_normalised(self, node: int) -> bool:
        """Whether a tensor was made as probabilities, seen through functions that keep its size."""
        size = math.prod(self._shapes[node])
        for op in reversed(self._ops):
            if node in op.outputs and node not in op.inputs:
                same = [n for n in op.inputs if math.prod(self._shapes[n]) == size]
                if op.name in _NORMALISES or op.name in _MIXES or not same:
                    return op.name in _NORMALISES
                node = same[0]
        return False


def _becomes_columns(label: Tensor, out: Tensor) -> bool:
    """Whether one dimension more holds one column per class: rows of an identity, or a comparison with all classes."""
    if label.is_floating_point() or out.dim() <= label.squeeze().dim() or out.numel() <= label.numel():
        return False
    return values.is_one_hot(out, -1) is True or (out.dim() > 1 and values.is_one_hot(out, 1) is True)
