"""The steady state: a step that differs from the one before in nothing but its values is read without a decision."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_diag.capture.calls import LossCall
from lightning_diag.capture.observation import Observation
from lightning_diag.capture.reading import reversed_arguments

FAMILIES = frozenset({"class", "element"})
"""Losses whose pair is read from shapes and types alone."""
_VALUES = frozenset({"preds", "target", "loss", "returned", "form"})
_FIXED = tuple(name for name in Observation.__dataclass_fields__ if name not in _VALUES)


class Steady:
    """How the only loss call of a step was read, and everything that this reading followed from.

    Args:
        call: the call; seen: what it was read as, from shapes, types and arguments.
    """

    __slots__ = ("_entry", "_fixed", "_graph", "_mean", "_rest", "_tensors")

    def __init__(self, call: LossCall, seen: Observation) -> None:
        self._entry, self._graph, self._rest = call.entry, call.graph, call.args[2:]
        self._tensors = _described(call.preds), _described(call.target)
        self._mean = seen.reduction == "mean"
        self._fixed = {name: getattr(seen, name) for name in _FIXED}

    @staticmethod
    def possible(call: LossCall) -> bool:
        """Whether a call of this kind is read from shapes and types alone."""
        plain = type(call.preds) is Tensor and type(call.target) is Tensor and not reversed_arguments(call)
        return plain and call.entry.family in FAMILIES and not call.kwargs and call.versions is not None

    def read(self, call: LossCall, result: object) -> Observation | None:
        """The pair of a step like the one before; None for any other step, or when a tensor was changed in place.

        Args:
            call: the only loss call of the step.
            result: what the step returned.
        """
        preds, target, rest = call.preds, call.target, call.args[2:]
        if (
            call.entry is not self._entry
            or call.kwargs
            or call.graph is not self._graph
            or len(rest) != len(self._rest)
        ):
            return None
        if (_described(preds), _described(target)) != self._tensors:
            return None
        if call.versions != (preds._version, target._version):  # noqa: SLF001 torch's only counter of in-place changes
            return None
        for given, known in zip(rest, self._rest, strict=True):  # identity: equality of tensors would be a tensor
            if given is not known:
                return None
        returned = self._mean and call.result is (result.get("loss") if isinstance(result, dict) else result)
        return Observation(
            preds=preds.detach(),
            target=target.detach() if target.requires_grad else target,
            loss=call.result.detach(),
            returned=returned,
            form=self,
            **self._fixed,
        )


def _described(tensor: Tensor) -> tuple[type, torch.Size, torch.dtype, torch.device, bool]:
    return type(tensor), tensor.shape, tensor.dtype, tensor.device, tensor.requires_grad
