"""One prediction/target pair of a step, as the step itself computed it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

TASKS = ("multiclass", "binary", "multilabel", "dense", "ctc", "regression", "soft", "mixup", "other")
KINDS = ("logits", "log_probs", "probs", "labels", "values")
LABELLED = frozenset({"multiclass", "binary", "multilabel", "dense"})
"""Tasks whose predictions can be counted right or wrong against hard targets."""


@dataclass(slots=True)
class Observation:
    """What one step predicted and what it was compared with.

    All tensors are detached views of the step's own tensors: no copy, no host transfer. They are only to be read.

    Attributes:
        task: one of :data:`TASKS`.

            * ``multiclass``: ``preds`` (N, C), ``target`` (N,) int; unbatched (C,) with a scalar target.
            * ``dense``: the same with more positions than samples: (N, C, d1, ...) with (N, d1, ...), or token
              logits flattened to (N*T, C) with (N*T,).
            * ``binary``: ``preds`` and ``target`` of one shape, any number of dimensions, target in {0, 1}.
            * ``multilabel``: (N, C) or (N, C, d1, ...) with a target of the same shape in {0, 1}.
            * ``soft``: target of the same shape as ``preds`` with fractions along ``class_dim`` (label smoothing,
              distillation); its largest entry counts as the class.
            * ``mixup``: one ``preds`` compared with several targets; ``target`` is that of the first call.
              Not to be counted as accuracy.
            * ``ctc``: ``preds`` (T, N, C) or (T, C) log-probabilities, ``target`` (N, S) padded or concatenated.
            * ``regression``: values against values; only the loss is used.
            * ``other``: a loss against targets that are no labels (a reconstruction, in-batch contrastive positions, the
              constants of an adversarial loss); only the loss is used.
        preds: predictions; ``kind`` says what they are.
        kind: one of :data:`KINDS`.
        target: what the loss compared ``preds`` with.
        class_dim: dimension of ``preds`` that holds the classes; -1 where there is none (binary, regression).
        num_classes: classes (binary 2, CTC with the blank); None for regression and for hard predictions.
        ignore_index: target value that does not count; None where the loss has none.
        weight: class weights (cross entropy, NLL), element weights or ``pos_weight`` (BCE); None without.
        label_smoothing: of the cross entropy.
        reduction: ``none``, ``mean`` or ``sum``: how ``loss`` was reduced.
        input_lengths: CTC, (N,) frames per sample, tensor or ints as given.
        target_lengths: CTC, (N,) tokens per sample, tensor or ints as given.
        blank: CTC, index of the blank.
        zero_infinity: CTC, whether infinite losses were zeroed.
        loss: what the loss call returned; None where the pair does not come from a loss call.
        source: where the pair comes from, as shown in the report, e.g. ``loss call cross_entropy``.
        head: name of the head, loss module or variable; empty when the step has only one.
        by_element: the loss is a binary cross entropy of each class against the rest, though one class is right.
        returned: whether ``loss`` is known to be what the step returned.
        partial: whether some loss calls of the step were too many to be kept: the pair is not whole.
        form: the same object for steps that differ in nothing but their values; None where that is not known.
    """

    task: str
    preds: Tensor
    kind: str
    target: Tensor
    class_dim: int = 1
    num_classes: int | None = None
    ignore_index: int | None = None
    weight: Tensor | None = None
    label_smoothing: float = 0.0
    reduction: str = "mean"
    input_lengths: Tensor | tuple[int, ...] | None = None
    target_lengths: Tensor | tuple[int, ...] | None = None
    blank: int = 0
    zero_infinity: bool = False
    loss: Tensor | None = None
    source: str = ""
    head: str = ""
    by_element: bool = False
    returned: bool = False
    partial: bool = False
    form: object | None = field(default=None, repr=False, compare=False)

    @property
    def counts(self) -> bool:
        """Whether predictions can be counted right or wrong (see :data:`LABELLED`)."""
        return self.task in LABELLED

    @property
    def samples(self) -> int:
        """Entries of the target's first dimension (CTC: sequences); 1 without a dimension of the samples."""
        if self.task == "ctc":
            return self.preds.shape[1] if self.preds.dim() == 3 else 1
        alone = self.preds.dim() == 1 and (self.class_dim == 0 or self.task == "multilabel")
        return self.target.shape[0] if self.target.dim() and not alone else 1


class Again(Protocol):
    """Takes training steps that differ from the one before in values alone.

    Attributes:
        left: training batches that are to be passed over before the next one is read.
    """

    left: int

    def read(self, tensors: tuple[Tensor, ...], loss: Tensor, result: object, batch: object, *, returned: bool) -> bool:
        """Take a step; False sends it, and those after it, the long way.

        Args:
            tensors: predictions and target, for CTC also the lengths of frames and tokens, detached.
            loss: of the call, detached.
            result: what the step returned.
            batch: that it was given.
            returned: whether that is the loss.
        """

    def pass_over(self, result: object) -> None:
        """Take what a step returned of which nothing else was looked at."""


Consumer: TypeAlias = "Callable[[str, Observation | None, object, object, int | None], Again | None]"


def plain(tensor: Tensor) -> Tensor:
    """A detached view of ``tensor`` as a plain :class:`torch.Tensor` (subclasses such as image masks are unwrapped)."""
    detached = tensor.detach()
    return detached if type(detached) is Tensor else detached.as_subclass(torch.Tensor)
