"""The steady state: a step that differs from the one before in nothing but its values is read without a decision."""

from __future__ import annotations

import operator

from torch import Tensor

from lightning_diag.capture.calls import LossCall
from lightning_diag.capture.observation import Observation
from lightning_diag.capture.reading import reversed_arguments

LENGTHS = {"class": 0, "element": 0, "ctc": 2}
"""Losses whose pair is read from shapes and types alone, and how many lengths follow the target in a call."""
_VALUES = frozenset({"preds", "target", "loss", "returned", "form", "input_lengths", "target_lengths"})
_FIXED = tuple(name for name in Observation.__dataclass_fields__ if name not in _VALUES)


class Steady:
    """How the only loss call of a step was read, and everything that this reading followed from.

    Args:
        call: the call; seen: what it was read as, from shapes, types and arguments.
    """

    __slots__ = ("_describe", "_described", "_entry", "_fixed", "_graph", "_lengths", "_mean", "_rest")

    def __init__(self, call: LossCall, seen: Observation) -> None:
        self._lengths = LENGTHS[call.entry.family]
        self._entry, self._graph, self._rest = call.entry, call.graph, call.args[2 + self._lengths :]
        self._describe = _described_sequences if self._lengths else _described
        self._described = self._describe(call)
        self._mean = seen.reduction == "mean"
        self._fixed = {name: getattr(seen, name) for name in _FIXED}

    @staticmethod
    def possible(call: LossCall) -> bool:
        """Whether a call of this kind is read from shapes and types alone."""
        lengths = LENGTHS.get(call.entry.family)
        if lengths is None or call.kwargs or call.versions is None or reversed_arguments(call):
            return False
        wanted = call.preds, call.target, *call.args[2 : 2 + lengths]
        return len(wanted) == 2 + lengths and all(type(value) is Tensor for value in wanted)

    def matches(self, call: LossCall) -> bool:
        """Whether a step whose only call this is differs from the one before in values alone, none overwritten since.

        For CTC the number of lines, frames and tokens may differ too.
        """
        rest = call.args[2 + self._lengths :]
        if (
            call.entry is not self._entry
            or call.kwargs
            or call.graph is not self._graph
            or len(rest) != len(self._rest)
            or self._describe(call) != self._described
            or call.versions != (call.preds._version, call.target._version)  # noqa: SLF001 torch's only counter of in-place changes
        ):
            return False
        return all(map(operator.is_, rest, self._rest))  # identity: equality of tensors would be a tensor

    def tensors(self, call: LossCall) -> tuple[Tensor, ...]:
        """Predictions, target and lengths of a call that matches, detached."""
        lengths = call.args[2 : 2 + self._lengths] if self._lengths else ()
        return call.preds.detach(), labels_of(call), *lengths

    def returned(self, call: LossCall, result: object) -> bool:
        """Whether a step returned just the mean loss that the call computed."""
        return self._mean and call.result is (result.get("loss") if isinstance(result, dict) else result)

    def read(self, call: LossCall, result: object) -> Observation:
        """The pair of a step that matches.

        Args:
            call: the only loss call of the step.
            result: what the step returned.
        """
        preds, target, *lengths = self.tensors(call)
        return Observation(
            preds=preds,
            target=target,
            input_lengths=lengths[0] if lengths else None,
            target_lengths=lengths[1] if lengths else None,
            loss=call.result.detach(),
            returned=self.returned(call, result),
            form=self,
            **self._fixed,
        )


def labels_of(call: LossCall) -> Tensor:
    """The target of a call, without gradients."""
    return call.target.detach() if call.target.requires_grad else call.target


def _described(call: LossCall) -> tuple[object, ...]:
    preds, target = call.preds, call.target
    return (
        type(preds), preds.shape, preds.dtype, preds.device, preds.requires_grad,
        type(target), target.shape, target.dtype, target.device, target.requires_grad,
    )  # fmt: skip


def _described_sequences(call: LossCall) -> tuple[object, ...]:
    """Without the sizes in which batches of sequences differ; whether they fit each other, the loss itself has checked."""
    preds, target, frames, tokens = call.preds, call.target, *call.args[2:4]
    return (
        type(preds), preds.dim(), preds.shape[-1], preds.dtype, preds.device, preds.requires_grad,
        type(target), target.dim(), target.device, type(frames), type(tokens),
    )  # fmt: skip
