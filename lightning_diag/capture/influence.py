"""How much a loss call counts in the loss that the step returned: the factor on its way through the graph."""

from __future__ import annotations

from collections import deque
from typing import Any

from torch import Tensor

from lightning_diag.capture.batch import leaves

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


def result_tensors(result: object) -> list[Tensor]:
    """All tensors in what a step returned."""
    return list(leaves(result).values())
