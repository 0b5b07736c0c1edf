"""How the loss calls of a step are read, once that is decided."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lightning_diag.capture.calls import LossCall
from lightning_diag.capture.heads import Head
from lightning_diag.capture.observation import Observation
from lightning_diag.capture.reading import read, reversed_arguments

Signature = tuple[tuple[str, int, bool], ...]
"""Of each loss call of a step, in order, its name, the classes that a class loss tells apart (else 0) and whether its targets are
fractions: steps of one signature are read alike."""


@dataclass(slots=True)
class Choice:
    """How the calls of one signature are read.

    Attributes:
        signature: of the step.
        order: indices of the calls; the first is the pair, in a loop all are.
        task: task to give to the pair where the values showed another than the shapes; None keeps it.
        one_hot: the target is one-hot and is read as classes.
        loop: the pairs are positions of one sequence and are joined.
        columns: each pair of the loop is one class of the same samples.
        reverse: the call passes its target first.
        reason: why this call, empty when there was only one; part of the source.
        heads: names of the calls that were not chosen.
        rejected: why calls were left out.
        names: names of the heads by index.
        masked: names of losses of which a mask hides entries.
        margins: losses, and what the code calls them, whose predictions have a margin.
        margin: the labels were used to make the predictions, which are then no answers.
        head: what is read; None for several calls that are read together.
        doubt: targets were all alike in this step: whether they are labels is not known yet.
        aside: its labels are others than those that the stage counts: only the loss is used.
    """

    signature: Signature
    order: tuple[int, ...]
    task: str | None = None
    one_hot: bool = False
    loop: bool = False
    columns: bool = False
    reverse: tuple[int, ...] = ()
    reason: str = ""
    heads: tuple[str, ...] = ()
    names: Mapping[int, str] = field(default_factory=dict)
    rejected: tuple[str, ...] = ()
    masked: frozenset[str] = frozenset()
    margin: bool = False
    margins: frozenset[tuple[str, str]] = frozenset()
    head: Head | None = None
    doubt: bool = False
    aside: bool = False


def signature_of(calls: Iterable[LossCall]) -> Signature:
    """The signature of a step."""
    return tuple([_kind(call) for call in calls])


def _kind(call: LossCall) -> tuple[str, int, bool]:
    entry, preds = call.entry, call.preds
    if entry.family != "class" or not preds.dim():
        return entry.name, 0, False
    return entry.name, preds.shape[min(1, preds.dim() - 1)], call.target.is_floating_point()


def apply(choice: Choice, calls: list[LossCall], size: int | None) -> Observation:
    """Read a step of a known signature.

    Raises:
        Rejected: when this step's tensors do not fit.
    """
    order = [i for i in choice.order if not calls[i].gone] if choice.loop else choice.order[:1]
    pairs = [
        read(calls[i], reverse=i in choice.reverse and not reversed_arguments(calls[i]), batch_size=size) for i in order
    ]
    for index, pair in zip(order, pairs, strict=True):
        pair.head = choice.names.get(index, "")
    first = _beside(pairs) if choice.columns else _joined(pairs) if choice.loop else pairs[0]
    if choice.one_hot:
        first.target = first.target.argmax(first.class_dim)
        if calls[choice.order[0]].entry.family == "element":
            first.by_element, first.weight = True, None
    if choice.task is not None:
        first.task = choice.task
    if choice.reason:
        first.source = f"{first.source} ({choice.reason})"
    return first


def _joined(pairs: list[Observation]) -> Observation:
    """Positions of one loop as one flat pair, with the loss over all of them."""
    first = pairs[0]
    first.loss = _joined_loss(pairs)
    first.preds = torch.cat([p.preds.movedim(p.class_dim, -1).flatten(0, -2) for p in pairs])
    first.target = torch.cat([p.target.flatten() for p in pairs])
    first.class_dim = 1
    return first


def _beside(pairs: list[Observation]) -> Observation:
    """Single classes of the same samples as one pair, the classes in dimension 1."""
    first = pairs[0]
    first.loss = _joined_loss(pairs)
    first.preds, first.target = (torch.stack([getattr(p, name) for p in pairs], 1) for name in ("preds", "target"))
    first.class_dim, first.num_classes = 1, len(pairs)
    return first


def _joined_loss(pairs: list[Observation]) -> Tensor | None:
    """The loss over all positions, reduced as that of each was."""
    losses = [pair.loss for pair in pairs if pair.loss is not None]
    if len(losses) != len(pairs):
        return None
    if pairs[0].reduction == "mean":
        sizes = torch.tensor([float(pair.target.numel()) for pair in pairs], device=losses[0].device)
        return (torch.stack(losses) * (sizes / sizes.sum())).sum()
    joined = torch.cat([loss.flatten() for loss in losses])
    return joined.sum() if pairs[0].reduction == "sum" else joined
