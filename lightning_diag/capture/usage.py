"""Proof that a step really compares a label with a prediction, seen by watching the torch functions of one step.

A batch may hold labels that the loss never reads (self-supervised training), and a loss may use labels only to find
positives and negatives (metric learning). Pairing such labels with the network's output would be wrong. So during one
calibration step every tensor made from the batch is followed: a label counts as compared when it picks entries along
the class dimension (``gather``, ``one_hot``, indexing) or meets a prediction element by element.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lightning_diag.capture.batch import leaves
from lightning_diag.capture.matching import storage

_PICKS = frozenset({"gather", "take_along_dim", "scatter", "scatter_", "scatter_add", "nll_loss", "cross_entropy"})
MAX_TENSORS = 20_000
"""Tensors followed in the one step."""


@dataclass(frozen=True, slots=True)
class Use:
    """One meeting of a label with another tensor.

    Attributes:
        label: storage of the batch's leaf.
        function: name of the torch function.
        other: shape of the tensor that it met.
    """

    label: int
    function: str
    other: tuple[int, ...]


class Usage(TorchFunctionMode):
    """Follows the leaves of a batch through one step.

    Attributes:
        uses: meetings of labels with other tensors, in order.
    """

    def __init__(self, batch: Iterable[Tensor]) -> None:
        super().__init__()
        self._kept: list[Tensor] = list(batch)
        self._roots: dict[int, int] = {storage(leaf): storage(leaf) for leaf in self._kept}
        self.uses: list[Use] = []

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
        if len(self._kept) > MAX_TENSORS or torch.compiler.is_compiling():
            return
        tensors = list(leaves(given).values())
        labels = [t for t in tensors if storage(t) in self._roots]
        if not labels:
            return
        others = [t for t in tensors if storage(t) not in self._roots]
        for label in labels:
            self._note(self._roots[storage(label)], name, label, others, result)
        if len(tensors) == 1:
            self._follow(labels[0], result)

    def _note(self, root: int, name: str, label: Tensor, others: list[Tensor], result: object) -> None:
        if name == "one_hot" and isinstance(result, Tensor):
            self.uses.append(Use(root, "one_hot", tuple(result.shape)))
        for other in others:
            picks = name in _PICKS or name in {"__getitem__", "index"}
            if picks or (other.shape == label.shape and isinstance(result, Tensor) and result.shape == label.shape):
                self.uses.append(Use(root, name, tuple(other.shape)))

    def _follow(self, label: Tensor, result: object) -> None:
        """A label alone, reshaped, cast or encoded, is still the label; where it exceeds a rank is not."""
        root = self._roots[storage(label)]
        for made in leaves(result).values():
            if made.dtype is torch.bool and not label.is_floating_point():
                continue
            if not made.requires_grad and made.numel() >= label.numel() and storage(made) not in self._roots:
                self._roots[storage(made)] = root
                self._kept.append(made)

    def compared(self, target: Tensor, preds: Tensor, class_dim: int) -> bool:
        """Whether the label behind ``target`` was compared with something shaped like ``preds``."""
        root = self._roots.get(storage(target))
        if root is None:
            return False
        classes = preds.shape[class_dim] if class_dim >= 0 and preds.dim() else None
        return any(use.label == root and _fits(use, target, classes) for use in self.uses)


def _fits(use: Use, target: Tensor, classes: int | None) -> bool:
    if use.function == "one_hot":
        return classes is not None and use.other[-1] == classes
    if use.function in _PICKS:
        return classes is None or classes in use.other
    if use.function in {"__getitem__", "index"}:
        return len(use.other) > 1 and classes in use.other and use.other[0] in {target.shape[0], target.numel()}
    size = math.prod(use.other)
    return size == target.numel() or (classes is not None and size == target.numel() * classes)
