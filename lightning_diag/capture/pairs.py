"""A pair that does not come from a loss function: what its shapes and values say it is."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from lightning_diag.capture import values
from lightning_diag.capture.observation import Observation, plain
from lightning_diag.capture.reading import Rejected


@dataclass(frozen=True, slots=True)
class Form:
    """How to read a pair, decided once from the values and applied without looking at them again.

    Attributes:
        task, kind, class_dim: as in :class:`~.observation.Observation`.
        ignore_index: target value that does not count; a dense task ignores -100 where nothing else is known.
        squeeze: dimension of size 1 that ``preds`` has more than the target; None without.
        channel: the target holds the classes in a channel of its own, (N, 1, ...). whole: and as floats.
    """

    task: str
    kind: str
    class_dim: int = -1
    squeeze: int | None = None
    ignore_index: int | None = None
    channel: bool = False
    whole: bool = False

    def apply(self, preds: Tensor, target: Tensor, source: str) -> Observation:
        """The pair as an observation; :class:`Rejected` when this step's shapes do not fit the form."""
        preds, target = plain(preds), plain(target)
        if self.squeeze is not None:
            preds = preds.squeeze(self.squeeze)
        if self.channel and target.dim() > 1:
            target = target.squeeze(1)
        target = target.long() if self.whole else target
        dim = self.class_dim
        if self.task in {"regression", "other"}:
            fits = True
        elif self.task in {"multiclass", "dense"} and self.kind != "labels":
            fits = preds.dim() > dim and preds.shape[:dim] + preds.shape[dim + 1 :] == target.shape
        else:
            fits = preds.shape == target.shape
        if not fits:
            raise Rejected(_mismatch(preds, target))
        classes = preds.shape[dim] if dim >= 0 else {"binary": 2}.get(self.task)
        return Observation(
            task=self.task,
            preds=preds,
            kind=self.kind,
            target=target,
            class_dim=dim,
            num_classes=classes,
            ignore_index=-100 if self.task == "dense" and self.ignore_index is None else self.ignore_index,
            source=source,
        )


def infer(preds: Tensor, target: Tensor, *, ignore: int | None = -100) -> Form:
    """What a pair is; looks at the values.

    Args:
        preds: predictions.
        target: targets.
        ignore: target value that need not be a class.

    Raises:
        Rejected: when shapes or values fit no classification task, or cannot be read.
    """
    preds, target = plain(preds), plain(target)
    if not preds.is_floating_point():
        return _hard(preds, target)
    channel = preds.dim() == target.dim() > 1 and target.shape[1] == 1 < preds.shape[1]
    if channel and values.is_whole(target):
        return replace(infer(preds, target.squeeze(1).long(), ignore=ignore), channel=True, whole=True)
    if preds.dim() == target.dim() + 1:
        form = _classes(preds, target, ignore)
        if form is not None:
            return form
        return replace(
            infer(preds.squeeze(_single(preds, target)), target, ignore=ignore), squeeze=_single(preds, target)
        )
    if preds.shape != target.shape:
        raise Rejected(_mismatch(preds, target))
    return _elements(preds, target)


def _mismatch(preds: Tensor, target: Tensor) -> str:
    return f"target {tuple(target.shape)} does not match predictions {tuple(preds.shape)}"


def _hard(preds: Tensor, target: Tensor) -> Form:
    """Predictions that are class indices already."""
    if preds.shape != target.shape or target.is_floating_point():
        raise Rejected(_mismatch(preds, target))
    return Form("dense" if target.dim() > 1 else "multiclass", "labels")


def _classes(preds: Tensor, target: Tensor, ignore: int | None) -> Form | None:
    """Scores per class beside integer targets with one dimension less."""
    if target.is_floating_point():
        return None
    for dim in dict.fromkeys((1, preds.dim() - 1)):
        if preds.shape[:dim] + preds.shape[dim + 1 :] == target.shape and preds.shape[dim] > 1:
            if values.in_range(target, preds.shape[dim], ignore) is not True:
                raise Rejected(f"target values are not classes 0 to {preds.shape[dim] - 1}")
            return Form("dense" if target.dim() > 1 else "multiclass", _kind(preds, dim), dim)
    return None


def _single(preds: Tensor, target: Tensor) -> int:
    """The dimension of size 1 that the predictions have more."""
    for dim in (preds.dim() - 1, 1):
        if preds.shape[dim] == 1 and preds.shape[:dim] + preds.shape[dim + 1 :] == target.shape:
            return dim
    raise Rejected(_mismatch(preds, target))


def _elements(preds: Tensor, target: Tensor) -> Form:
    """Scores beside targets of the same shape: yes/no per element, or distributions."""
    labels = preds.dim() in (2, 4, 5) and preds.shape[1] > 1
    if values.is_hard(target) is True:
        if labels and values.is_one_hot(target, 1) and values.kind_of(preds, 1) == "probs":
            return Form("soft", "probs", 1)
        return Form("multilabel" if labels else "binary", _kind(preds, -1), 1 if labels else -1)
    if labels and target.is_floating_point() and values.kind_of(target, 1) == "probs":
        return Form("soft", _kind(preds, 1), 1)
    if not target.is_floating_point() or values.is_hard(target) is None:
        raise Rejected("the target holds neither classes nor 0 and 1")
    return Form("regression", "values")


def _kind(preds: Tensor, dim: int) -> str:
    kind = values.kind_of(preds, dim)
    if kind is None:
        raise Rejected("the values of the predictions could not be read during calibration")
    return kind
