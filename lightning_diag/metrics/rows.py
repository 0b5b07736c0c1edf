"""Predictions and targets of one or more batches as flat columns: what was predicted, what was right, how sure.

Everything here is a short sequence of tensor operations on the device of the predictions: no host copy, no
synchronisation, no copy of large scores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from lightning_diag.metrics.extremes import first_max

SURE_CELLS = 2**19
"""Scores per update that are normalised for confidence, entropy and loss; larger updates use evenly spaced rows.
512 samples of 1,000 classes fit; of 50,000 classes 10 rows do, so that a language-model head costs no copy."""


LABEL_CLASSES = 1_024
"""Room for classes where only hard labels are seen and nobody said how many there are."""
TASKS = ("multiclass", "binary", "multilabel", "dense", "soft")


class Spec(NamedTuple):
    """How to read a pair of predictions and targets.

    Attributes:
        task: one of :data:`TASKS`. kind: ``logits``, ``log_probs``, ``probs`` or ``labels``.
        class_dim: axis of the classes in the predictions. ignore_index: target value that does not count.
    """

    task: str
    kind: str = "logits"
    class_dim: int = 1
    ignore_index: int | None = None

    @property
    def guessed(self) -> bool:
        """Whether the number of classes cannot be read from the predictions."""
        return self.kind == "labels" and self.task not in {"binary", "multilabel"}

    def classes(self, scores: Tensor) -> int | None:
        """Number of classes by the shape of the scores; None for hard labels.

        Raises:
            ValueError: for an unknown task.
        """
        if self.task not in TASKS:
            raise ValueError(f"task {self.task!r}: expected one of {', '.join(TASKS)}")
        if self.task == "binary":
            return 2
        if self.guessed:
            return None
        return int(scores.shape[self.class_dim])


@dataclass(frozen=True, slots=True)
class Sureness:
    """How sure the predictions were, for all rows or for evenly spaced ones.

    Attributes:
        index: rows these belong to; None when they are all rows in order.
        confidence: probability of the predicted class. entropy: of the predicted distribution in nats.
        loss: -ln p(target) in nats; None where it is not wanted.
    """

    index: Tensor | slice | None
    confidence: Tensor
    entropy: Tensor
    loss: Tensor | None


@dataclass(frozen=True, slots=True)
class Rows:
    """Flat columns, one entry per position.

    Attributes:
        predicted: class per position, int64. target: class per position, int64; anything outside the classes does not
            count. finite: whether the scores of the position were usable. sure: None where there are no scores.
        ignored: positions that the loss ignores, bool; None when there are none.
    """

    predicted: Tensor
    target: Tensor
    finite: Tensor
    ignored: Tensor | None
    sure: Sureness | None


def batched(scores: Tensor, target: Tensor, spec: Spec) -> tuple[Tensor, Tensor, Spec]:
    """A pair without the dimension of the samples (``squeeze()`` of a batch of one) as a batch of one, and how to read it."""
    if target.dim() and not (scores.dim() == 1 and (spec.class_dim == 0 or spec.task == "multilabel")):
        return scores, target, spec
    return (
        scores.unsqueeze(0),
        target.unsqueeze(0),
        spec._replace(class_dim=1 if spec.class_dim == 0 else spec.class_dim),
    )


def positions(labels: Tensor, spec: Spec) -> Tensor:
    """Labels or scores (N, C, d1, ...) of a multilabel task as (positions, C): each position has labels of its own."""
    return labels.movedim(spec.class_dim, -1).flatten(0, -2)


TRAIN_SURE_CELLS = 2**12
"""The same where a sample of the rows is enough: 400 rows of 10 classes per counted batch (32 steps) still make
thousands of rows per epoch, at a tenth of the cost."""


TRAIN_SCORES = 2**20
"""Scores of a training batch that are read: of larger ones (language models, segmentation) evenly spaced positions. Reading
all of 128 x 50,000 takes 2.5 ms on one CPU core, 3 % of the step that makes them; thousands of positions an epoch tell the
accuracy within a percent."""
READ_STEPS, MOST_SKIPPED = 64, 8
"""Steps of an epoch at least whose positions are read, and steps of which one is, at most. To begin with such a batch takes a
millisecond, however few of its positions are read, when its scores are not in the cache."""


def read_every(batches: float) -> int:
    """Batches of which one is read where a batch has more than :data:`TRAIN_SCORES`, in an epoch of ``batches``."""
    return max(1, int(min(batches / READ_STEPS, MOST_SKIPPED)))


ENOUGH_SAMPLES, ENOUGH_OF_EACH, MOST_PASSED_OVER = 2_048, 16, 4
"""Samples of an epoch at least, and for each class, that are read where not all are, and batches of which one is, at most. An
accuracy of 50 % is known from 2,048 samples to within 2.2 points (95 %), closer than from the few hundred validation samples that it is
compared with."""


def enough_of(batches: float, samples: int, classes: int) -> int:
    """Training batches of ``samples`` each of which one is enough, in an epoch of ``batches``; 1 where its length is not known."""
    if math.isinf(batches):
        return 1
    share = batches * samples / max(ENOUGH_SAMPLES, ENOUGH_OF_EACH * classes)
    return max(1, min(MOST_PASSED_OVER, int(share)))


def thinned(scores: Tensor, target: Tensor, spec: Spec, most: int, turn: int) -> tuple[Tensor, Tensor, int]:
    """Evenly spaced positions with about ``most`` scores, as views, and how many positions one of them stands for.

    The first position moves with ``turn``, the number of the step, so that no column of an image is always left out. The
    other arguments are those of :func:`rows_of`; a multilabel batch is thinned too.
    """
    classes = None if spec.task == "binary" or spec.kind == "labels" else spec.class_dim % scores.dim()
    axes = [axis for axis in range(scores.dim()) if axis != classes]
    axis = max(axes, key=lambda a: scores.shape[a], default=0)
    stride = min(-(-scores.numel() // most), scores.shape[axis]) if axes else 1
    if stride <= 1:
        return scores, target, 1
    own = axis if target.dim() == scores.dim() or classes is None or axis < classes else axis - 1
    return _every(scores, axis, stride, turn), _every(target, own, stride, turn), stride


def _every(tensor: Tensor, axis: int, stride: int, turn: int) -> Tensor:
    return tensor[(slice(None),) * axis + (slice(turn % stride, None, stride),)]


def rows_of(
    scores: Tensor, target: Tensor, spec: Spec, *, sure_cells: int = SURE_CELLS, want_loss: bool = True
) -> Rows:
    """Columns of a task with one class per position (all tasks but multilabel).

    Args:
        scores: with the classes on ``spec.class_dim`` (binary: one score per position); class indices for labels.
        target: class indices in the shape of the scores without the class axis, or (soft) the scores' shape.
        spec: how to read them.
        sure_cells: scores that are normalised at most; of larger updates evenly spaced rows.
        want_loss: whether the loss of each row is wanted.

    Raises:
        ValueError: when the number of targets is not the number of positions.
    """
    if spec.task == "binary":
        return _binary_rows(scores, target, spec)
    rows = _class_rows(scores, target, spec)
    if spec.kind == "labels":
        return rows
    return replace(rows, sure=_sureness(scores, rows.target if want_loss else None, spec, sure_cells))


def _class_rows(scores: Tensor, target: Tensor, spec: Spec) -> Rows:
    if target.is_floating_point() and target.shape == scores.shape and spec.kind != "labels":
        target = first_max(target, spec.class_dim)[1]
    labels = target.reshape(-1).long()
    ignored = None if spec.ignore_index is None else labels == spec.ignore_index
    if spec.kind == "labels":
        predicted = scores.reshape(-1).long()
        _check(predicted, labels)
        return Rows(predicted, labels, torch.ones_like(predicted, dtype=torch.bool), ignored, None)
    top, best = first_max(scores, spec.class_dim)
    predicted = best.reshape(-1)
    _check(predicted, labels)
    top = top.reshape(-1)
    return Rows(predicted, labels, top - top == 0, ignored, None)  # inf - inf and NaN are not 0


def _binary_rows(scores: Tensor, target: Tensor, spec: Spec) -> Rows:
    """A soft target counts as class 1 from 0.5 on; NaN and values outside [0, 1] are out of range."""
    flat, soft = scores.reshape(-1), target.reshape(-1)
    _check(flat, soft)
    ignored = None if spec.ignore_index is None else soft == spec.ignore_index
    inside = (soft >= 0) & (soft <= 1)
    labels = torch.where(inside, (soft >= 0.5).long(), -1)
    if spec.kind == "labels":
        return Rows(flat.long(), labels, torch.ones_like(inside), ignored, None)
    logit = flat.float() if spec.kind == "logits" else _logit(flat.float(), spec.kind)
    return Rows((logit > 0).long(), labels, flat.isfinite(), ignored, _binary_sureness(logit, soft.float()))


def _logit(scores: Tensor, kind: str) -> Tensor:
    p = scores.exp() if kind == "log_probs" else scores
    return p.clamp(0, 1).logit(eps=1e-7)


def hard_labels(scores: Tensor, kind: str) -> Tensor:
    """Decisions of a multilabel task: the score is above 0 (logits) or 0.5 (probabilities, hard labels)."""
    return scores > (0.0 if kind == "logits" else 0.5)


def _check(predicted: Tensor, labels: Tensor) -> None:
    if predicted.shape != labels.shape:
        raise ValueError(f"{predicted.numel()} predictions for {labels.numel()} targets: expected one target each")


def _sureness(scores: Tensor, labels: Tensor | None, spec: Spec, cells: int) -> Sureness:
    moved = scores.movedim(spec.class_dim, -1)
    classes = moved.shape[-1]
    index, picked = _picked(moved, -(-moved.numel() // cells))
    log_p = functional.log_softmax(picked.float().log() if spec.kind == "probs" else picked.float(), -1)
    loss = None
    if labels is not None:
        wanted = labels if index is None else labels[index]
        loss = -log_p.gather(-1, wanted.clamp(0, classes - 1).unsqueeze(-1)).squeeze(-1)
    p = log_p.exp_() if labels is None else log_p.exp()
    return Sureness(index, p.amax(-1), torch.special.entr(p).sum(-1), loss)


def _picked(moved: Tensor, stride: int) -> tuple[Tensor | slice | None, Tensor]:
    """Every ``stride``-th position as (index, scores); a view where the layout allows it."""
    if stride <= 1:
        return None, moved.reshape(-1, moved.shape[-1])
    if moved.dim() == 2 or moved.is_contiguous():
        every = slice(None, None, stride)
        return every, moved.reshape(-1, moved.shape[-1])[every]
    index = torch.arange(0, moved.shape[:-1].numel(), stride, device=moved.device)
    return index, moved[torch.unravel_index(index, moved.shape[:-1])]


def _binary_sureness(logit: Tensor, target: Tensor) -> Sureness:
    confidence = logit.abs().sigmoid()
    rest = 1 - confidence
    entropy = torch.special.entr(confidence) + torch.special.entr(rest)
    loss = functional.softplus(logit) - logit * target
    return Sureness(None, confidence, entropy, loss)
