"""How much a loss call counts in the loss that the step returned: the factor on its way through the graph."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lightning_diag.capture import values

MAX_NODES = 400
"""Nodes looked at: between a returned loss and its terms lie a handful of sums and factors."""


def returned_loss(result: object) -> Tensor | None:
    """The loss in what a training step returned: the tensor itself, or the entry ``loss``."""
    if isinstance(result, Tensor):
        return result
    if isinstance(result, dict):
        loss = result.get("loss")
        return loss if isinstance(loss, Tensor) else None
    return None


def factors(loss: Tensor, terms: list[Tensor]) -> list[float | None]:
    """The factor of each term in ``loss``; None for a term that is not found on the way back.

    Sums pass the factor on, products and quotients with a number on the host scale it; other operations keep it.
    """
    wanted = {term.grad_fn: index for index, term in enumerate(terms) if term.grad_fn is not None}
    found: list[float | None] = [None] * len(terms)
    todo: deque[tuple[Any, float]] = deque([(loss.grad_fn, 1.0)])
    seen: set[Any] = set()
    while todo and len(seen) < MAX_NODES and any(value is None for value in found):
        node, factor = todo.popleft()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node in wanted:
            found[wanted[node]] = factor
            continue
        factor *= _scale(node)
        todo.extend((parent, factor) for parent, _ in node.next_functions)
    return found


_PASSED = ("View", "Reshape", "UnsafeView", "Squeeze", "Unsqueeze", "Transpose", "Permute", "Clone", "ToCopy", "Div")
"""Operations behind which an unreduced loss still has an entry for each prediction."""

_MASKS = {
    "MaskedFillBackward0": "_saved_mask",
    "MaskedSelectBackward0": "_saved_mask",
    "WhereBackward0": "_saved_condition",
    "IndexBackward0": "_saved_indices",
}
"""Operations that keep some entries, and where their nodes keep which."""


def is_masked(loss: Tensor, term: Tensor) -> bool:
    """Whether ``loss`` leaves out entries of the unreduced ``term`` by a product with zeros and ones, or by a mask.

    Entries that are left out for the size of their loss (hard or easy examples) do not count as masked: their labels are meant.
    """
    if loss.grad_fn is None or term.grad_fn is None:
        return False
    children: dict[Any, list[Any]] = {}
    todo: deque[Any] = deque([loss.grad_fn])
    seen: set[Any] = {loss.grad_fn}
    while todo and len(seen) < MAX_NODES:
        node = todo.popleft()
        for parent, _ in getattr(node, "next_functions", ()):
            children.setdefault(parent, []).append(node)
            if parent is not None and parent not in seen and parent is not term.grad_fn:
                seen.add(parent)
                todo.append(parent)
    climb: list[Any] = [term.grad_fn]
    for node in climb:
        for child in children.get(node, ()):
            mask = _mask_of(child, node, term)
            if mask is not None and _hides(mask, term):
                return True
            if mask is not None or type(child).__name__.startswith(_PASSED):
                climb.append(child)
    return False


def _mask_of(node: Any, parent: Any, term: Tensor) -> Tensor | None:
    """The tensor with which ``node`` weighs or picks the entries of ``parent``."""
    kind = type(node).__name__
    if kind == "MulBackward0":
        name = "_saved_other" if node.next_functions[0][0] is parent else "_saved_self"
    else:
        name = _MASKS.get(kind, "")
    try:
        mask = getattr(node, name, None) if name else None
        if isinstance(mask, tuple):
            mask = _picked(mask, term)
    except (RuntimeError, IndexError):  # the graph was freed already, or the indices belong to another shape
        return None
    return mask if isinstance(mask, Tensor) and mask.dim() and not mask.requires_grad else None


def _picked(indices: tuple[Tensor | None, ...], term: Tensor) -> Tensor | None:
    """The entries of ``term``, or of its flat view, that indexing by a mask kept."""
    index = indices[0] if len(indices) == 1 else None
    if index is None:
        return None
    if index.dtype is torch.bool:
        return index
    mask = torch.zeros(term.numel(), dtype=torch.bool, device=term.device)
    mask[index] = True
    return mask


MARGIN_NODES = 32
"""Operations before the predictions among which a margin is looked for."""


def is_made_with(preds: Tensor, target: Tensor) -> bool:
    """Whether the class indices ``target`` went into ``preds`` (N, C) on the way: as one entry of each row, or as indices."""
    todo: deque[Any] = deque([preds.grad_fn])
    seen: set[Any] = set()
    while todo and len(seen) < MARGIN_NODES:
        node = todo.popleft()
        if node is None or node in seen:
            continue
        seen.add(node)
        if any(_is_of_labels(found, preds, target) for found in _saved(node)):
            return True
        todo.extend(parent for parent, _ in node.next_functions)
    return False


def _saved(node: Any) -> Iterator[Tensor]:
    """What a product, a choice or a change at some indices kept."""
    names = {"MulBackward0": ("_saved_other", "_saved_self"), "IndexPutBackward0": ("_saved_indices",)}
    kind = type(node).__name__
    for name in names.get(kind, (_MASKS.get(kind, ""),)):
        try:
            found = getattr(node, name, None) if name else None
        except RuntimeError:  # the graph was freed already
            continue
        yield from (t for t in (found if isinstance(found, tuple) else (found,)) if isinstance(t, Tensor))


def _is_of_labels(found: Tensor, preds: Tensor, target: Tensor) -> bool:
    if found.requires_grad or not values.readable(found):
        return False
    if found.shape == target.shape and not found.is_floating_point() and found.dtype != torch.bool:
        return values.same(found, target)
    if found.shape != preds.shape:
        return False
    return bool(values.is_one_hot(found.detach().float(), -1)) and values.same(found.float().argmax(-1), target)


def _hides(mask: Tensor, term: Tensor) -> bool:
    if mask.shape != term.shape and mask.dim() == term.dim():  # one mask for all classes
        mask = mask.expand_as(term) if all(a in (1, b) for a, b in zip(mask.shape, term.shape, strict=True)) else mask
    if mask.numel() != term.numel() or not values.readable(mask, term):
        return False
    with torch.no_grad():
        flat, losses = mask.flatten().float(), term.detach().flatten()
        if not bool(((flat == 0) | (flat == 1)).all()) or bool((flat == flat[0]).all()):
            return False
        out, kept = losses[flat == 0], losses[flat == 1]
        return not bool((out.max() <= kept.min()) | (kept.max() <= out.min()))


def _scale(node: Any) -> float:
    """The number by which a product or quotient scales; 1 where it is a tensor of the device or unknown."""
    kind = type(node).__name__
    if kind not in {"MulBackward0", "DivBackward0"}:
        return 1.0
    for name in ("_saved_other", "_saved_self") if kind == "MulBackward0" else ("_saved_other",):
        try:
            other = getattr(node, name, None)
        except RuntimeError:  # the graph was freed already
            return 1.0
        if isinstance(other, Tensor) and other.dim() == 0 and other.device.type == "cpu" and not other.requires_grad:
            value = abs(float(other))
            return value if kind == "MulBackward0" else 1.0 / value if value else 1.0
    return 1.0


def nearest(loss: Tensor, outputs: list[tuple[Any, Tensor]]) -> Any | None:
    """The key of the output that lies nearest to ``loss`` in the graph: what the loss was computed from.

    Args:
        loss: what the step returned.
        outputs: (key, tensor) of everything that modules returned.

    Returns:
        The key; None when no output is found.
    """
    wanted = {tensor.grad_fn: key for key, tensor in outputs if tensor.grad_fn is not None}
    todo: deque[Any] = deque([loss.grad_fn])
    seen: set[Any] = set()
    while todo and len(seen) < MAX_NODES:
        node = todo.popleft()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node in wanted:
            return wanted[node]
        todo.extend(parent for parent, _ in node.next_functions)
    return None
