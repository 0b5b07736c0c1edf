"""From the arguments of a loss call to an :class:`Observation`: task, class dimension, orientation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor

from lightning_diag.capture.calls import LossCall, reduction_of, sample_of
from lightning_diag.capture.observation import Observation, plain
from lightning_diag.capture.values import kind_of, same


class Rejected(Exception):  # noqa: N818 not an error: the reason why a pair is not used
    """Why a call does not give a usable pair; its text goes into the report."""


class ChangedInPlace(Rejected):
    """The step overwrote its predictions after the loss call; from the next step on they are copied at the call."""


def read(call: LossCall, *, reverse: bool = False, batch_size: int | None = None) -> Observation:
    """The pair of one loss call.

    Args:
        call: the recorded call.
        reverse: the call site is known (from training) to pass the target first.
        batch_size: samples of the batch, where known: tells token positions from samples.

    Returns:
        An observation with detached views.

    Raises:
        Rejected: when shapes or types show that this is no prediction/target pair.
    """
    if _changed(call):
        raise ChangedInPlace("predictions or targets were changed in place after the loss call")
    preds, target = (call.target, call.preds) if reverse or reversed_arguments(call) else (call.preds, call.target)
    seen = _READERS[call.entry.family](call, plain(preds), plain(target), batch_size)
    if call.graph and call.preds.requires_grad and call.target.requires_grad:
        seen.task = "other"
    if preds is call.target and seen.kind != "values":
        seen.kind = kind_of(seen.preds, seen.class_dim) or seen.kind
    seen.loss = plain(call.result)
    seen.source = f"loss call {call.entry.name}"
    return seen


def _changed(call: LossCall) -> bool:
    """Whether an argument was overwritten: by torch's counter, else (inference mode) by a sample of the values."""
    if call.versions is not None:
        return (call.preds._version, call.target._version) != call.versions  # noqa: SLF001 torch's only counter of in-place changes
    return call.sample is not None and not same(call.sample, sample_of(call.preds))


def readable(calls: Iterable[LossCall]) -> tuple[Observation, ...]:
    """The pairs of those calls that have one, in order."""
    found = (read_or_none(call) for call in calls)
    return tuple(seen for seen in found if seen is not None)


def read_or_none(call: LossCall) -> Observation | None:
    """The pair of a call; None when it is none."""
    try:
        return read(call)
    except Rejected:
        return None


def reversed_arguments(call: LossCall) -> bool:
    """In training the prediction requires grad and the target does not: the opposite means exchanged arguments."""
    return not call.gone and call.graph and call.target.requires_grad and not call.preds.requires_grad


def _classes(call: LossCall, preds: Tensor, target: Tensor, batch_size: int | None) -> Observation:
    """Cross entropy and NLL: integer targets, or class probabilities of the same shape."""
    dim = 1 if preds.dim() > 1 else 0
    options = call.options
    common: dict[str, Any] = {
        "preds": preds,
        "kind": call.entry.kind,
        "target": target,
        "class_dim": dim,
        "num_classes": preds.shape[dim] if preds.dim() else None,
        "weight": _detached(options.get("weight")),
        "label_smoothing": float(options.get("label_smoothing", 0.0)),
        "reduction": reduction_of(options),
    }
    if target.is_floating_point():
        if target.shape != preds.shape:
            raise Rejected(f"target {tuple(target.shape)} does not match predictions {tuple(preds.shape)}")
        return Observation(task="soft", **common)
    expected = preds.shape[:dim] + preds.shape[dim + 1 :]
    if target.shape != expected:
        raise Rejected(f"target {tuple(target.shape)} does not match predictions {tuple(preds.shape)}")
    ignore = int(options.get("ignore_index", -100)) if call.entry.name != "multi_margin_loss" else None
    return Observation(task=_positions(target, batch_size), ignore_index=ignore, **common)


def _positions(target: Tensor, batch_size: int | None) -> str:
    """``dense`` when the target has more positions than the batch has samples."""
    if target.dim() > 1:
        return "dense"
    return "dense" if batch_size and target.dim() == 1 and target.shape[0] > batch_size else "multiclass"


def _elements(call: LossCall, preds: Tensor, target: Tensor, batch_size: int | None) -> Observation:
    """Binary cross entropies: one yes/no per element; several per sample are labels."""
    del batch_size
    if preds.shape != target.shape:
        raise Rejected(f"target {tuple(target.shape)} does not match predictions {tuple(preds.shape)}")
    # With three dimensions the classes may be the second (N, C, L) or the last (N, T, C): then each element counts.
    labels = preds.dim() in (2, 4, 5) and preds.shape[1] > 1
    weight = call.options.get("pos_weight")
    return Observation(
        task="multilabel" if labels else "binary",
        preds=preds,
        kind=call.entry.kind,
        target=target,
        class_dim=1 if labels else -1,
        num_classes=preds.shape[1] if labels else 2,
        weight=_detached(weight if weight is not None else call.options.get("weight")),
        reduction=reduction_of(call.options),
    )


def _ctc(call: LossCall, preds: Tensor, target: Tensor, batch_size: int | None) -> Observation:
    """CTC: log-probabilities (T, N, C) or (T, C) with targets and lengths."""
    del batch_size
    options = call.options
    if preds.dim() not in (2, 3):
        raise Rejected(f"log-probabilities {tuple(preds.shape)}: expected (T, N, C) or (T, C)")
    return Observation(
        task="ctc",
        preds=preds,
        kind=call.entry.kind,
        target=target,
        class_dim=preds.dim() - 1,
        num_classes=preds.shape[-1],
        input_lengths=_lengths(options.get("input_lengths")),
        target_lengths=_lengths(options.get("target_lengths")),
        blank=int(options.get("blank", 0)),
        zero_infinity=bool(options.get("zero_infinity", False)),
        reduction=reduction_of(options),
    )


def _lengths(value: object) -> Tensor | tuple[int, ...] | None:
    if isinstance(value, Tensor):
        return plain(value)
    return tuple(int(v) for v in value) if isinstance(value, list | tuple) else None


def _detached(value: object) -> Tensor | None:
    return plain(value) if isinstance(value, Tensor) else None


def _divergence(call: LossCall, preds: Tensor, target: Tensor, batch_size: int | None) -> Observation:
    """Kullback-Leibler: a distribution as the target."""
    del batch_size
    return Observation(
        task="soft",
        preds=preds,
        kind="log_probs",
        target=target.exp() if call.options.get("log_target") else target,
        num_classes=preds.shape[1] if preds.dim() > 1 else None,
        reduction=reduction_of(call.options),
    )


def _values(call: LossCall, preds: Tensor, target: Tensor, batch_size: int | None) -> Observation:
    """Regression losses."""
    del batch_size
    return Observation(
        task="regression", preds=preds, kind="values", target=target, class_dim=-1, reduction=reduction_of(call.options)
    )


_Reader = Callable[[LossCall, Tensor, Tensor, int | None], Observation]
_READERS: Mapping[str, _Reader] = {
    "class": _classes,
    "element": _elements,
    "ctc": _ctc,
    "divergence": _divergence,
    "value": _values,
}
