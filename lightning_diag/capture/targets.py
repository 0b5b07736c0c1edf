"""What the target of a loss call is besides its shape: labels, classes written one-hot, or no labels at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_diag.capture import values
from lightning_diag.capture.batch import TARGET_NAMES, Path, is_named, leaves
from lightning_diag.capture.matching import VIEWS, match_leaf, within
from lightning_diag.capture.observation import Observation
from lightning_diag.capture.taps import Visit
from lightning_diag.capture.values import storage

Match = tuple[Path, str, str]
"""Path of a leaf of the batch, with the view and the cast that make the target of it (:func:`~.matching.match_leaf`)."""


MAX_COLUMNS = 16
"""Columns of an output that are compared with the predictions."""


class Nature(NamedTuple):
    """What a target of a binary cross entropy is.

    Attributes:
        task: of the pair.
        leaf: path of the labels in the batch; None when they are not there.
        one_hot: whether each row is one class.
    """

    task: str
    leaf: Path | None
    one_hot: bool = False


def is_made_up(seen: Observation, batch: Mapping[Path, Tensor]) -> bool:
    """Whether a target that is nowhere in ``batch`` was made by the step without labels: positions, constants, halves."""
    target = seen.target
    if seen.task == "multilabel" and target.dim() == 2 and values.is_one_hot(target, 1):
        target = target.argmax(1)  # which is the partner within the batch, written one-hot
        alike = values.is_positions(target) or values.is_constant(target) or values.is_pairing(target, seen.num_classes)
        return bool(alike) and _classes_in(target, batch) is None
    if seen.task in {"multiclass", "binary"} and (values.is_positions(target) or values.is_constant(target)):
        return True
    if seen.task in {"multiclass", "dense"} and target.dim() == 1:
        return bool(values.is_pairing(target, seen.num_classes))
    return seen.task == "binary" and bool(values.is_halves(target))


def made_with(seen: Observation, match: Match | None, batch: Mapping[Path, Tensor], visits: list[Visit]) -> bool:
    """Whether the innermost part of the network that returned the predictions was given the target and used it for them.

    A part that only makes the loss with it (Hugging Face) returns predictions that are a piece of what an inner part made without it.
    """
    labels = {storage(t) for t in (seen.target, None if match is None else batch[match[0]]) if t is not None}
    for place, visit in enumerate(visits):
        if visit.role == "module" and any(storage(t) == storage(seen.preds) for t in leaves(visit.output).values()):
            return _given(visit, labels) and not any(
                _is_piece(seen.preds, t)
                for inner in visits[:place]
                if inner.role == "module" and not _given(inner, labels)
                for t in leaves(inner.output).values()
            )
    return False


def _given(visit: Visit, labels: set[int]) -> bool:
    return any(storage(t) in labels for t in leaves((visit.args, visit.kwargs)).values())


def _is_piece(preds: Tensor, output: Tensor) -> bool:
    """Whether the predictions are one column of an output (start and end of an answer)."""
    if output.dim() != preds.dim() + 1 or output.shape[:-1] != preds.shape:
        return False
    return any(values.same(preds, column) for column in output.detach().unbind(-1)[:MAX_COLUMNS])


def is_distribution(seen: Observation) -> bool:
    """Whether a target of the shape of its predictions sums to 1 along the classes; unknown counts as yes."""
    if not 0 <= seen.class_dim < seen.target.dim():
        return False
    return values.kind_of(seen.target, seen.class_dim) in {"probs", None}


def of_elements(seen: Observation, match: Match | None, batch: Mapping[Path, Tensor], visits: list[Visit]) -> Nature:
    """What the target of a binary cross entropy is.

    Fractions are labels where most of them lie at two ends (smoothed labels, votes, resized masks), and classes where they
    sum to 1. Others are amounts: grey values, heat maps, rates. Where two samples were mixed neither has one answer.
    """
    hard, leaf = values.is_hard(seen.target), match[0] if match else None
    if _is_reconstruction(seen, match, batch, visits):
        return Nature("other", leaf)
    if hard is False and match is None and any(_is_mixed(seen.target, t) for t in batch.values()):
        return Nature("mixup", None)
    if seen.class_dim < 0:
        amount = hard is False and values.is_decided(seen.target) is False
        return Nature("other" if amount else seen.task, leaf)
    whole = "dense" if seen.preds.dim() > 2 else "multiclass"
    if values.is_one_hot((seen.target >= 0.5).float(), seen.class_dim):
        found = _classes_in(seen.target.argmax(seen.class_dim), batch)
        if found is not None or (hard and values.kind_of(seen.preds, seen.class_dim) == "probs"):  # of a softmax
            return Nature(whole, found or leaf, one_hot=True)
    soft = hard is False and is_distribution(seen)
    amount = hard is False and values.is_decided(seen.target) is False
    return Nature("soft" if soft else "other" if amount else seen.task, leaf)


def _is_mixed(target: Tensor, labels: Tensor) -> bool:
    """Whether each row of ``target`` is a share of its row of ``labels`` and the rest of another one.

    Where the two rows agree the mixture is their label; where not, it is the share or what is missing to 1.
    """
    if labels.shape != target.shape or target.dim() < 2 or target[0].numel() < 2:
        return False
    if not values.readable(target, labels) or not values.is_hard(labels.detach().float()):
        return False
    with torch.no_grad():
        mixed, own = target.flatten(1), labels.flatten(1)
        share = torch.where(own == 1, mixed, 1 - mixed)
        agree = (mixed == 0) | (mixed == 1)
        least = share.masked_fill(agree, 1).amin(1)
        most = share.masked_fill(agree, 0).amax(1)
        return bool(agree.any() & (share[agree] == 1).all() & (most - least < values.TOLERANCE).all())


def _classes_in(classes: Tensor, batch: Mapping[Path, Tensor]) -> Path | None:
    """The leaf that holds these classes as numbers; one that is one-hot itself says nothing more than the target does."""
    integers = {p: t for p, t in batch.items() if not t.is_floating_point() and not t.is_complex()}
    found = match_leaf(classes, integers)
    return None if found is None or found[2].startswith("argmax") else found[0]


def _is_reconstruction(
    seen: Observation, match: Match | None, batch: Mapping[Path, Tensor], visits: list[Visit]
) -> bool:
    """Whether the target was fed to the network, in whatever view, or is what the noisy input was made from."""
    fed, own = list(_fed(seen, visits)), [seen.target]
    if match is not None:
        own.append(VIEWS[match[1]](batch[match[0]]))
    if any(t.is_floating_point() and within(t, a) for t in own for a in fed):
        return True
    if match is None or not own[1].is_floating_point():
        return False
    place = match[0][:1]
    first = not is_named(match[0], TARGET_NAMES) and not (place and isinstance(place[0], int) and place[0] > 0)
    changed = not any(storage(a) == storage(t) for a in fed for t in batch.values())
    return first and changed and any(a.shape == batch[match[0]].shape for a in fed)


def _fed(seen: Observation, visits: list[Visit]) -> Iterator[Tensor]:
    """Floating tensors that parts of the network were given; a part that compares them with the predictions is a loss."""
    for visit in visits:
        scalar = any(t.dim() == 0 and t.is_floating_point() for t in leaves(visit.output).values())  # a loss
        given = [t for t in leaves((visit.args, visit.kwargs)).values() if t.is_floating_point()]
        compares = len(given) > 1 and any(storage(t) == storage(seen.preds) for t in given)
        if visit.role == "module" and not scalar and not compares:
            yield from given
