"""Calibration: which module output and which entry of the batch a pair was made from.

During the first steps the tensors of a known pair are compared with the outputs of the submodules and the leaves of
the batch: first by memory (the same storage seen through a view), then by value (a cast, a softmax). What matches is
remembered as a :class:`Route`, by which later steps find the same pair without a loss call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_diag.capture import values
from lightning_diag.capture.batch import Path, leaves, name_of, pick
from lightning_diag.capture.taps import Visit
from lightning_diag.capture.values import storage

Step = Callable[[Tensor], Tensor]

VIEWS: Mapping[str, Step] = {
    "": lambda t: t,
    "flatten(0, -2)": lambda t: t.flatten(0, -2),
    "movedim(-1, 1)": lambda t: t.movedim(-1, 1),
    "transpose(0, 1)": lambda t: t.transpose(0, 1),
    "permute(2, 0, 1)": lambda t: t.permute(2, 0, 1),
    "squeeze(2) permute(2, 0, 1)": lambda t: t.squeeze(2).permute(2, 0, 1),
    "squeeze(-1)": lambda t: t.squeeze(-1),
    "squeeze(1)": lambda t: t.squeeze(1),
    "unsqueeze(1)": lambda t: t.unsqueeze(1),
    "flatten()": lambda t: t.flatten(),
    "flatten(1)": lambda t: t.flatten(1),
    "[:, -1]": lambda t: t[:, -1],
    "[:, 0]": lambda t: t[:, 0],
    "[:, 1:]": lambda t: t[:, 1:],
    "[:, :-1]": lambda t: t[:, :-1],
    "[:, :-1] flatten(0, -2)": lambda t: t[:, :-1].flatten(0, -2),
    "[:, 1:] flatten()": lambda t: t[:, 1:].flatten(),
    "movedim(1, -1) flatten(0, -2)": lambda t: t.movedim(1, -1).flatten(0, -2),
}
"""Ways in which steps look at an output or a target before the loss."""

POINTWISE: Mapping[str, Step] = {
    "": lambda t: t,
    "log_softmax(-1)": lambda t: t.log_softmax(-1),
    "log_softmax(1)": lambda t: t.log_softmax(1),
    "softmax(-1)": lambda t: t.softmax(-1),
    "softmax(1)": lambda t: t.softmax(1),
    "sigmoid()": lambda t: t.sigmoid(),
}
CASTS: Mapping[str, Step] = {
    "": lambda t: t,
    "long()": lambda t: t.long(),
    "float()": lambda t: t.float(),
    "argmax(1)": lambda t: t.argmax(1),
    "argmax(-1)": lambda t: t.argmax(-1),
}


@dataclass(frozen=True, slots=True)
class Route:
    """Where a pair comes from.

    Attributes:
        module: name of the tapped module (empty: the module's own ``forward``).
        path: path inside its output.
        turn: which of its passes in the step, counted from the last (-1).
        view, pointwise: what was done with the output (keys of :data:`VIEWS`, :data:`POINTWISE`).
        leaf: path of the target in the batch.
        leaf_view, leaf_cast: what was done with the target.
    """

    module: str
    path: Path
    turn: int
    view: str
    pointwise: str
    leaf: Path
    leaf_view: str
    leaf_cast: str

    @property
    def source(self) -> str:
        """For the report."""
        name = f"output of {self.module}" if self.module else "output of forward"
        return f"{name} with {name_of(self.leaf)} (calibrated)"

    def preds(self, visits: Iterable[Visit]) -> Tensor | None:
        """The prediction among the passes of a step; None when there is no such pass. A single pass is always meant."""
        own = [visit for visit in visits if visit.name == self.module]
        if not own or 1 < len(own) < -self.turn:
            return None
        found = pick(own[self.turn if len(own) > 1 else 0].output, self.path)
        return None if found is None else POINTWISE[self.pointwise](VIEWS[self.view](found.detach()))

    def target(self, leaf: Tensor | None) -> Tensor | None:
        """The target from the batch's leaf at :attr:`leaf`."""
        return None if leaf is None else CASTS[self.leaf_cast](VIEWS[self.leaf_view](leaf.detach()))


def route(preds: Tensor, target: Tensor, visits: list[Visit], batch: Mapping[Path, Tensor]) -> Route | None:
    """How to find ``preds`` and ``target`` again; None when either matches nothing."""
    leaf = match_leaf(target, batch)
    output = leaf and match_output(preds, visits)
    if not leaf or not output:
        return None
    visit, path, view, pointwise = output
    passes = sum(v.name == visit.name for v in visits)
    return Route(visit.name, path, visit.turn - passes, view, pointwise, *leaf)


def match_leaf(target: Tensor, batch: Mapping[Path, Tensor]) -> tuple[Path, str, str] | None:
    """(path, view, cast) of the batch leaf that ``target`` was made from."""
    for path, leaf in batch.items():
        view = same_memory(target, leaf)
        if view is not None:
            return path, view, ""
    for path, leaf in batch.items():
        found = _by_value(target, leaf, CASTS)
        if found:
            return (path, *found)
    return None


def match_output(preds: Tensor, visits: list[Visit]) -> tuple[Visit, Path, str, str] | None:
    """(visit, path in its output, view, pointwise) of the pass that made ``preds``; the latest pass wins."""
    outputs = [
        (v, p, t) for v in reversed(visits) if v.role in {"module", "forward"} for p, t in leaves(v.output).items()
    ]
    for visit, path, tensor in outputs:
        view = same_memory(preds, tensor)
        if view is not None:
            return visit, path, view, ""
    for visit, path, tensor in outputs:
        found = _by_value(preds, tensor, POINTWISE) if tensor.is_floating_point() else None
        if found:
            return (visit, path, *found)
    return None


def same_memory(wanted: Tensor, base: Tensor) -> str | None:
    """The view of ``base`` that is ``wanted``: same storage, shape and strides; None when there is none."""
    if wanted.dtype != base.dtype or storage(wanted) != storage(base):
        return None
    for name, step in VIEWS.items():
        made = tried(step, base)
        if made is not None and made.shape == wanted.shape and made.data_ptr() == wanted.data_ptr():
            return name
    return None


def within(part: Tensor, whole: Tensor) -> bool:
    """Whether ``part`` lies mostly in the memory that ``whole`` shows, whatever the views; by address, no value is read."""
    if storage(part) != storage(whole):
        return False
    cells = part.untyped_storage().nbytes() // part.element_size()
    if part.dtype != whole.dtype or cells > values.MAX_LOOK:
        return True
    place = torch.arange(cells)
    shown = torch.zeros(cells, dtype=torch.bool)
    shown[place.as_strided(whole.shape, whole.stride(), whole.storage_offset()).flatten()] = True
    return bool(shown[place.as_strided(part.shape, part.stride(), part.storage_offset())].float().mean() > 0.5)


def _by_value(wanted: Tensor, base: Tensor, steps: Mapping[str, Step]) -> tuple[str, str] | None:
    """(view, step) with which ``base`` has the values of ``wanted``."""
    for view_name, view in VIEWS.items():
        seen = tried(view, base)
        if seen is None or not 0 < seen.numel() <= values.MAX_LOOK:
            continue
        for name, step in steps.items():
            made = tried(step, seen) if _may_become(seen, wanted, name) else None
            if made is not None and values.same(wanted, made):
                return view_name, name
    return None


def _may_become(seen: Tensor, wanted: Tensor, name: str) -> bool:
    if name.startswith("argmax"):  # of one entry it is always 0: any constant 0 would match
        return seen.dim() > 1 and seen.shape[1 if name == "argmax(1)" else -1] > 1
    return seen.shape == wanted.shape


def tried(step: Step, tensor: Tensor) -> Tensor | None:
    """The tensor after ``step``; None where its shape does not allow it."""
    try:
        with torch.no_grad():
            return step(tensor.detach())
    except (RuntimeError, IndexError, ValueError):
        return None
