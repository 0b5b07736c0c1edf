"""Which part of a module gives the predictions of a step, and what it was given."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_diag.signals.inputs import leaves

Change = Callable[[Tensor], Tensor]
MOST_ELEMENTS = 2**24
"""Larger inputs are not kept (64 MiB in float32); nor is more of one step."""
LAST = 4
"""So many of the latest passes are kept whatever their size: the outermost part comes last."""


@dataclass(slots=True)
class Visit:
    """One pass through a part of the module."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any


@dataclass(frozen=True, slots=True)
class Reading:
    """How predictions come out of a part.

    Attributes:
        name: dotted name of the part; empty for the module itself.
        leaf: which tensor of its output.
        shape: name of the change of shape (:data:`SHAPES`); form: name of the change of values (:data:`FORMS`).
    """

    name: str
    leaf: int
    shape: str
    form: str

    def predictions(self, output: Any, class_dim: int) -> Tensor | None:
        """The predictions in an output of the part; None when it has another form."""
        tensors = list(leaves(_opened(output)))
        if self.leaf >= len(tensors):
            return None
        shaped = SHAPES[self.shape](tensors[self.leaf])
        return FORMS[self.form](shaped, class_dim)


SHAPES: Mapping[str, Change] = {
    "as it is": lambda t: t,
    "positions joined": lambda t: t.reshape(-1, t.shape[-1]),
    "classes second": lambda t: t.movedim(-1, 1),
    "flat": lambda t: t.reshape(-1),
    "frames first": lambda t: t.transpose(0, 1),
}
FORMS: Mapping[str, Callable[[Tensor, int], Tensor]] = {
    "as it is": lambda t, _: t,
    "log_softmax": lambda t, dim: t.float().log_softmax(dim),
    "softmax": lambda t, dim: t.float().softmax(dim),
    "sigmoid": lambda t, _: t.float().sigmoid(),
}


class VisitWatch:
    """Records the passes through the parts of a module during one step, with forward hooks that change nothing.

    Compiled parts are watched from outside only, so that no hook enters a compiled graph.

    Args:
        module: the module of the step.
        only: dotted name of the one part to watch; None watches all.
    """

    def __init__(self, module: nn.Module, only: str | None = None) -> None:
        self.visits: list[Visit] = []
        self._sizes: list[int] = []
        self._searching = only is None
        parts = dict(outside_parts(module))
        chosen = parts if only is None else {only: parts[only]} if only in parts else {}
        self._handles = [p.register_forward_hook(self._hook(n), with_kwargs=True) for n, p in chosen.items()]

    def _hook(self, name: str) -> Callable[..., None]:
        def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            with contextlib.suppress(Exception):  # a pass that cannot be looked at is none that can be run again
                self._add(Visit(name, args, kwargs, output))

        return note

    def _add(self, visit: Visit) -> None:
        """Keep a pass that may be run again; activations in between would be kept from being freed."""
        if self._searching and not usable(visit):
            return
        self.visits.append(visit)
        self._sizes.append(_size(list(leaves([*visit.args, *visit.kwargs.values(), _opened(visit.output)]))))
        while len(self.visits) > LAST and sum(self._sizes) > MOST_ELEMENTS:
            del self.visits[0], self._sizes[0]

    def remove(self) -> list[Visit]:
        """Take the hooks away; the visits in the order in which they ended."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        return self.visits


def outside_parts(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Parts that are not inside a compiled or scripted one, by dotted name, outermost first."""
    if getattr(module, "_compiled_call_impl", None) is not None or isinstance(module, torch.jit.ScriptModule):
        return
    if getattr(module, "_compiler_ctx", None) is not None:  # a LightningModule whose steps Lightning compiled whole
        return
    yield prefix, module
    if type(module).__name__ == "OptimizedModule":
        return
    for name, child in module.named_children():
        yield from outside_parts(child, f"{prefix}.{name}" if prefix else name)


def usable(visit: Visit) -> bool:
    """Whether the part can be run again by itself: its inputs depend on no trainable weight and are not too large."""
    tensors = list(leaves([*visit.args, *visit.kwargs.values()]))
    return bool(tensors) and not any(t.requires_grad for t in tensors) and _size(tensors) <= MOST_ELEMENTS


def readings(visits: Sequence[Visit], preds: Tensor) -> tuple[list[tuple[Visit, Reading]], bool]:
    """Ways to get ``preds`` out of a usable visit, the outermost part first, and whether they are certain.

    Certain is a tensor that shares its memory with the predictions. Others only have the right shape and must be compared
    by value (:func:`same_values`), which reads from the device.
    """
    found: list[tuple[Visit, Reading]] = []
    for visit, index, shape, shaped in _shaped(visits, preds):
        if shaped.data_ptr() == preds.data_ptr() and shaped.stride() == preds.stride():
            return [(visit, Reading(visit.name, index, shape, "as it is"))], True
        found += [(visit, Reading(visit.name, index, shape, form)) for form in FORMS]
    return found, False


def _shaped(visits: Sequence[Visit], preds: Tensor) -> Iterator[tuple[Visit, int, str, Tensor]]:
    for visit in reversed(visits):
        tensors = list(leaves(_opened(visit.output))) if usable(visit) else []
        for index, tensor in enumerate(tensors):
            for shape, change in SHAPES.items():
                shaped = _try(change, tensor)
                if shaped is not None and shaped.shape == preds.shape:
                    yield visit, index, shape, shaped


def same_values(first: Tensor | None, second: Tensor) -> bool:
    """Whether two predictions agree up to rounding."""
    if first is None or first.shape != second.shape:
        return False
    return bool(torch.allclose(first.float(), second.float(), rtol=1e-3, atol=1e-5, equal_nan=True))


def _opened(output: Any) -> Any:
    """Hugging Face outputs are mappings already; other objects with ``logits`` show that."""
    if isinstance(output, (Tensor, Sequence, Mapping)):
        return output
    return getattr(output, "logits", output)


def _try(change: Change, tensor: Tensor) -> Tensor | None:
    try:
        return change(tensor)
    except (RuntimeError, IndexError):
        return None


def _size(tensors: Sequence[Tensor]) -> int:
    return sum(t.numel() for t in tensors)
