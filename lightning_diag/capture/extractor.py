"""The user's own way to hand over predictions and targets, for steps that nothing else can read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from lightning_diag.capture.observation import KINDS, TASKS, Observation, plain
from lightning_diag.capture.pairs import Form, infer

SOURCE = "extractor of the user"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Predictions and targets with what cannot be seen from their shapes. Everything but the first two is optional.

    Attributes:
        preds: predictions, a tensor or a NumPy array; for CTC (frames, lines, classes), as the loss wants them.
        target: what they are to be compared with.
        task: one of ``observation.TASKS``; None: from shapes and values of the first steps.
        kind: one of ``observation.KINDS``; None: from the values of the first steps.
        class_dim: dimension of ``preds`` with the classes.
        ignore_index: target value that does not count.
        input_lengths, target_lengths, blank: CTC only.
        loss: the loss of the batch, a mean over its samples.
        head: name of the head, where there are several.
    """

    preds: Tensor
    target: Tensor
    task: str | None = None
    kind: str | None = None
    class_dim: int | None = None
    ignore_index: int | None = None
    input_lengths: Tensor | None = None
    target_lengths: Tensor | None = None
    blank: int = 0
    loss: Tensor | None = None
    head: str = ""

    def __post_init__(self) -> None:
        for name in ("preds", "target"):
            object.__setattr__(self, name, _tensor(name, getattr(self, name)))
        if self.task is not None and self.task not in TASKS:
            raise ValueError(f"Pair(task={self.task!r}): expected one of {', '.join(TASKS)}")
        if self.kind is not None and self.kind not in KINDS:
            raise ValueError(f"Pair(kind={self.kind!r}): expected one of {', '.join(KINDS)}")


@dataclass(frozen=True, kw_only=True)
class Step:
    """What an extractor gets to see of a step. Read only.

    Attributes:
        stage: ``train``, ``val`` or ``test``.
        module: the LightningModule.
        batch: the batch as the step got it (containers are copied before the step can take things out of them).
        batch_idx, dataloader_idx: as Lightning counts them; None for the index where the training step does not take it.
        outputs: what the step returned.
        seen: pairs of the loss calls that the step made, in order; may be empty.
    """

    stage: str
    module: nn.Module
    batch: Any
    batch_idx: int | None
    dataloader_idx: int
    outputs: Any
    seen: tuple[Observation, ...] = field(default=())


Extracted: TypeAlias = "Pair | Observation | tuple[Any, Any] | Mapping[str, Any] | None"
"""What an extractor may return, tensors or NumPy arrays; None skips the step."""


@runtime_checkable
class Extractor(Protocol):
    """A function that is asked after each step for its predictions and targets.

    ``lambda step: (step.outputs["logits"], step.batch[1])`` is one. It must not change what it gets, draw random
    numbers or run the model.
    """

    def __call__(self, step: Step) -> Extracted:
        """The pair of ``step``."""


Extractors: TypeAlias = Extractor | Mapping[str, Extractor]
"""One function for all stages, or one by stage (:data:`STAGES`); a stage without one is read as if there were none."""
STAGES = ("train", "val", "test")


def extractor_of(given: Extractors | None, stage: str) -> Extractor | None:
    """The function for ``stage`` (``train``, ``val``, ``val:1`` ...)."""
    return given.get(stage.partition(":")[0]) if isinstance(given, Mapping) else given


class ExtractorError(Exception):
    """The user's function failed on a step, or returned what is no pair; :attr:`error` says how."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def as_pair(extracted: Extracted) -> Pair | Observation | None:
    """A tuple or a mapping as a :class:`Pair`.

    Raises:
        TypeError: for anything else; the message says what was given and what to return.
    """
    if extracted is None or isinstance(extracted, Pair | Observation):
        return extracted
    if isinstance(extracted, Mapping):
        return Pair(**extracted)
    if isinstance(extracted, tuple) and len(extracted) == 2:
        return Pair(preds=extracted[0], target=extracted[1])
    raise TypeError(
        f"the extractor returned {type(extracted).__name__}: "
        "expected (preds, target), a lightning_diag.capture.Pair, a dict of its fields, or None"
    )


def _tensor(name: str, value: object) -> Tensor:
    if isinstance(value, np.ndarray):
        return torch.as_tensor(value)
    if isinstance(value, Tensor):
        return value
    raise TypeError(f"{name} is of type {type(value).__name__}: expected a tensor or a NumPy array")


def form_of(pair: Pair) -> Form:
    """How to read the pairs of this extractor; what the user said wins over what the values show."""
    if pair.task in {"ctc", "regression", "soft", "mixup", "other"}:
        default = {"ctc": "log_probs", "regression": "values"}.get(pair.task, "logits")
        last = pair.preds.dim() - 1
        dim = pair.class_dim if pair.class_dim is not None else last if pair.task == "ctc" else min(1, last)
        return Form(pair.task, pair.kind or default, -1 if pair.task == "regression" else dim)
    if pair.task and pair.kind and pair.class_dim is not None:
        return Form(pair.task, pair.kind, pair.class_dim % pair.preds.dim())
    found = infer(pair.preds, pair.target, ignore=pair.ignore_index)
    dim = found.class_dim if pair.class_dim is None else pair.class_dim % pair.preds.dim()
    return Form(pair.task or found.task, pair.kind or found.kind, dim, found.squeeze)


def observe(pair: Pair, form: Form) -> Observation:
    """The pair as an observation."""
    if form.task == "ctc":
        seen = Observation(
            task="ctc", preds=plain(pair.preds), kind=form.kind, target=plain(pair.target), class_dim=form.class_dim
        )
        seen.num_classes = pair.preds.shape[form.class_dim]
    else:
        seen = form.apply(pair.preds, pair.target, SOURCE)
    seen.source, seen.head, seen.blank = SOURCE, pair.head, pair.blank
    seen.ignore_index = pair.ignore_index if pair.ignore_index is not None else seen.ignore_index
    seen.loss = None if pair.loss is None else plain(pair.loss)
    seen.input_lengths = None if pair.input_lengths is None else plain(pair.input_lengths)
    seen.target_lengths = None if pair.target_lengths is None else plain(pair.target_lengths)
    if form.task == "ctc":
        _check_lines(seen)
    return seen


def _check_lines(seen: Observation) -> None:
    """Refuse CTC predictions that are not (frames, lines, classes) for the lengths that came with them."""
    shape = tuple(seen.preds.shape)
    for name in ("input_lengths", "target_lengths"):
        lengths = getattr(seen, name)
        if lengths is not None and len(shape) == 3 and lengths.numel() != shape[1]:
            raise ValueError(
                f"preds has shape {shape} and {name} {lengths.numel()} entries: expected (frames, lines, classes) with one entry "
                "per line; preds.transpose(0, 1) exchanges frames and lines"
            )
