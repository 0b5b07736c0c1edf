"""What a stage without a pair says to the user: what stood in the way, what its steps held, and how to hand the pair over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lightning_diag.capture.batch import TARGET_NAMES, Path, is_named, leaves, name_of
from lightning_diag.capture.values import is_hard

NUMBERS = "fiub"
"""Kinds of NumPy arrays that can be tensors."""
LISTED = 8
"""Tensors of a batch (or of what a step returned) that are listed."""

STEPS = {"train": "training_step", "val": "validation_step", "test": "test_step"}
TAKERS = "ClassCollapseDetector, CTCBlankMonitor and all_callbacks() take it too"
MASKED = "a mask hides entries of the loss, and which predictions count is not known: accuracy is not measured"
MARGIN = (
    "the part that makes the predictions is given the labels (a margin is taken off the right class, as in ArcFace), so that they "
    "are not what the model would answer: accuracy is not measured in this stage"
)

COUNTED = (
    'Let the step return what counts, e.g. `return {"loss": loss, "logits": logits[mask], "labels": labels[mask]}`, and give '
    f'`GapMonitor(extractor=lambda step: (step.outputs["logits"], step.outputs["labels"]))`; {TAKERS}.'
)
"""What to do where a mask decides which predictions count."""

LOSS_ONLY = frozenset({"regression", "other"})
"""Tasks without an accuracy."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a step without a pair held.

    Attributes:
        batch: tensors of the batch as an extractor reaches them, with type and shape.
        returned: the same for what the step returned.
        label: the tensor of the batch that is most like labels; empty where none may be (amounts only).
        others: those that are as much like labels.
        scores: the first thing returned that may be scores of those samples; empty where nothing is.
    """

    batch: tuple[str, ...]
    returned: tuple[str, ...]
    label: str
    others: tuple[str, ...] = ()
    scores: str = ""


def look(batch: Mapping[Path, Tensor], result: object) -> Held:
    """What a step held that gave no pair.

    Args:
        batch: all tensors of its batch by path.
        result: what it returned.
    """
    label, *others = _labels(batch) if batch else [name_of((1,))]
    returned = leaves(_with_tensors(result))
    samples = next((len(t) for path, t in batch.items() if t.dim() and name_of(path) == label), None)
    scores = [p for p, t in returned.items() if t.is_floating_point() and t.dim() > 1 and len(t) == samples]
    name = name_of(scores[0], "outputs") if scores else ""
    return Held(_listed("batch", batch), _listed("outputs", returned), label, tuple(others), name)


def _with_tensors(node: object) -> object:
    """What a step returned with its NumPy arrays as tensors: an extractor may hand them over as they are."""
    if isinstance(node, np.ndarray):
        return torch.as_tensor(node) if node.dtype.kind in NUMBERS else None
    if isinstance(node, Mapping):
        return {key: _with_tensors(child) for key, child in node.items()}
    return [_with_tensors(child) for child in node] if isinstance(node, list | tuple) else node


def _labels(batch: Mapping[Path, Tensor]) -> list[str]:
    """Whole numbers or zeros and ones: those with a telling name, else those with the fewest dimensions; one empty name for none."""
    found = [p for p, t in batch.items() if t.dim() and (not (t.is_floating_point() or t.is_complex()) or is_hard(t))]
    rank = {path: (not is_named(path, TARGET_NAMES), batch[path].dim()) for path in found}
    return [name_of(path) for path in found if rank[path] == min(rank.values())] or [""]


def _listed(root: str, found: Mapping[Path, Tensor]) -> tuple[str, ...]:
    shown = [_tensor(f"step.{name_of(path, root)}", tensor) for path, tensor in list(found.items())[:LISTED]]
    more = [f"{len(found) - LISTED} more"] if len(found) > LISTED else []
    return (*shown, *more)


def _tensor(name: str, tensor: Tensor) -> str:
    kind = str(tensor.dtype).removeprefix("torch.")
    return f"`{name.replace('`', '?')}` {kind} {tuple(tensor.shape) if tensor.dim() else 'scalar'}"


def no_pair(stage: str, seen: Sequence[str], held: Held | None) -> str:
    """Why ``stage`` has no pair, where things like ``seen`` stood in the way."""
    notes = f" (seen: {'; '.join(seen)})" if seen else ""
    step = STEPS.get(stage.partition(":")[0], stage)
    if held is not None and not held.label:
        return (
            f"{step} makes no loss call that can be read, and its batch holds no class labels (whole numbers, or zeros and "
            f"ones): accuracy is not measured{notes}"
        )
    return f"no predictions and targets were found in {step}{notes}"


def remedy(held: Held | None, stage: str | None = None) -> str | None:
    """How to hand over a pair that was not found; None where the batch holds nothing that accuracy could be counted from.

    Args:
        held: what a step held.
        stage: the one that lacks a pair, where others have one that an extractor for all stages would replace.
    """
    if held is not None and not held.label:
        return None
    label = held.label if held is not None else name_of((1,))
    scores = held.scores if held is not None else ""
    function = f"""lambda step: (step.{scores or 'outputs["logits"]'}, step.{label})"""
    if stage is not None:
        function = f'{{"{stage.partition(":")[0]}": {function}}}'
    first = 'Let the step return its predictions, e.g. `return {"loss": loss, "logits": logits}`, and'
    if scores:
        first = f"If `step.{scores}` holds the predictions,"
    advice = f"{first} give `GapMonitor(extractor={function})`; {TAKERS}."
    if held is None:
        return advice
    if held.others:
        others = ", ".join(f"`step.{other}`" for other in held.others)
        advice += f" Whether `step.{label}` holds the labels is not known: {others} may as well. Another column gives a wrong report."
    return f"{advice} {_given(held)} A loss that compares no class labels has no pair: then nothing is missing."


def repair(held: Held | None) -> str:
    """What to do where the user's own function gave no pair; ``held`` is what it was given, where it failed."""
    if held is not None:
        return f"Mend the function given as `extractor=`. {_given(held)}"
    return "Let the function given as `extractor=` return `(preds, target)` for each step of the stage."


def _given(held: Held) -> str:
    batch, returned = ", ".join(held.batch) or "no tensors", ", ".join(held.returned) or "no tensor"
    return f"A batch holds {batch}; the step returned {returned}."


def loss_only(task: str | None, hidden: str) -> tuple[str | None, str | None]:
    """Why a stage whose pairs were read has no accuracy, and what to do; ``hidden`` is why its labels do not count."""
    if task not in LOSS_ONLY:
        return None, None
    return (
        hidden or f"the loss compares no labels ({task}): accuracy is not measured",
        COUNTED if hidden == MASKED else None,
    )
