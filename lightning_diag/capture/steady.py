"""The steady state: a step that differs from the one before in nothing but its values is read without a decision."""

from __future__ import annotations

import operator

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

    Attributes:
        mean: whether the loss is the mean over the batch.
    """

    __slots__ = ("_described", "_entry", "_fixed", "_graph", "_rest", "mean")

    def __init__(self, call: LossCall, seen: Observation) -> None:
        self._entry, self._graph, self._rest = call.entry, call.graph, call.args[2:]
        self._described = _described(call.preds, call.target)
        self.mean = seen.reduction == "mean"
        self._fixed = {name: getattr(seen, name) for name in _FIXED}

    @staticmethod
    def possible(call: LossCall) -> bool:
        """Whether a call of this kind is read from shapes and types alone."""
        plain = type(call.preds) is Tensor and type(call.target) is Tensor and not reversed_arguments(call)
        return plain and call.entry.family in FAMILIES and not call.kwargs and call.versions is not None

    def matches(self, call: LossCall) -> bool:
        """Whether a step whose only call this is differs from the one before in values alone, none overwritten since."""
        preds, target, rest = call.preds, call.target, call.args[2:]
        if (
            call.entry is not self._entry
            or call.kwargs
            or call.graph is not self._graph
            or len(rest) != len(self._rest)
            or _described(preds, target) != self._described
            or call.versions != (preds._version, target._version)  # noqa: SLF001 torch's only counter of in-place changes
        ):
            return False
        return all(map(operator.is_, rest, self._rest))  # identity: equality of tensors would be a tensor

    def read(self, call: LossCall, result: object) -> Observation:
        """The pair of a step that matches.

        Args:
            call: the only loss call of the step.
            result: what the step returned.
        """
        return Observation(
            preds=call.preds.detach(),
            target=labels_of(call),
            loss=call.result.detach(),
            returned=self.mean and is_returned(call, result),
            form=self,
            **self._fixed,
        )


def labels_of(call: LossCall) -> Tensor:
    """The target of a call, without gradients."""
    return call.target.detach() if call.target.requires_grad else call.target


def is_returned(call: LossCall, result: object) -> bool:
    """Whether a step returned just what the call computed."""
    return call.result is (result.get("loss") if isinstance(result, dict) else result)


def _described(preds: Tensor, target: Tensor) -> tuple[object, ...]:
    return (
        type(preds), preds.shape, preds.dtype, preds.device, preds.requires_grad,
        type(target), target.shape, target.dtype, target.device, target.requires_grad,
    )  # fmt: skip
