"""Whether the loss calls of a step are one loss in pieces: positions of a sequence, parts of a long output, single classes."""

from __future__ import annotations

import torch

from lightning_diag.capture import values
from lightning_diag.capture.batch import leaves
from lightning_diag.capture.candidates import Candidate, Context
from lightning_diag.capture.taps import Visit
from lightning_diag.capture.values import storage

LOOP = 3
"""Calls of one module from which on a step is a loop over positions (a decoder), not a set of heads."""


def is_loop(candidates: list[Candidate], context: Context) -> bool:
    """Whether the calls are one loss in pieces, to be read as one pair."""
    tasks = {c.doubt or c.seen.task for c in candidates}  # one position of many may be of one class by chance
    by_chance = sum(bool(c.doubt) for c in candidates)
    return (
        len(candidates) > max(1, 2 * by_chance)
        and tasks <= {"multiclass", "dense"}
        and len({(c.call.entry.name, c.seen.num_classes) for c in candidates}) == 1
        and len({c.call.target.data_ptr() for c in candidates}) == len(candidates)
        and ((len(tasks) == 1 and _is_of_one_module(candidates)) or _is_cut_in_pieces(candidates, context))
    )


def _is_of_one_module(candidates: list[Candidate]) -> bool:
    """Outputs of one module; two may as well be two losses, unless their targets lie in one entry of the batch."""
    first, origins = candidates[0], {c.origin for c in candidates}
    if first.origin is None or {o.name for o in origins if o} != {first.origin.name}:
        return False
    each = len(origins) == len(candidates)
    if len(candidates) < LOOP:
        return each and len({storage(c.call.target) for c in candidates}) == 1
    return each or first.origin.dims > 2


def _is_cut_in_pieces(candidates: list[Candidate], context: Context) -> bool:
    """Consecutive pieces of one output (N, T, C), copied and put flat: a loss in chunks that saves memory."""
    classes = candidates[0].seen.num_classes
    if all(c.origin is not None for c in candidates) or any(c.seen.preds.dim() != 2 for c in candidates):
        return False
    for visit in reversed(context.visits):
        for whole in leaves(visit.output).values() if visit.role in {"module", "forward"} else ():
            if whole.dim() == 3 and whole.shape[-1] == classes and whole.shape[0]:
                rows, start = whole.shape[0], 0
                for c in candidates:
                    stop = start + len(c.seen.preds) // rows
                    piece = whole[:, start:stop].detach().flatten(0, 1)
                    if not values.same(c.seen.preds, piece):
                        break
                    start = stop
                else:
                    return True
    return False


def columns(candidates: list[Candidate], samples: int | None) -> str | None:
    """The task of calls that each ask yes or no of one class (focal losses over several classes); None where they do not.

    The classes of one answer exclude each other: just one is right everywhere. Else they are labels, and known to be of one
    answer only where they lie in one tensor. ``samples`` tells samples from positions.
    """
    first, tasks = candidates[0], {c.doubt or c.seen.task for c in candidates}
    if len(candidates) < 2 or not tasks <= {"binary"} or len({c.call.entry.name for c in candidates}) > 1:
        return None
    if len({(c.seen.preds.shape, c.seen.target.shape) for c in candidates}) > 1 or not first.seen.preds.dim():
        return None
    if len({c.seen.preds.data_ptr() for c in candidates}) < len(candidates):
        return None
    target = torch.stack([c.seen.target for c in candidates], 1)
    if sum(values.is_constant(c.seen.target) is False for c in candidates) > 1 and values.is_one_hot(target, 1):
        return "multiclass" if target.dim() == 2 and len(target) <= (samples or len(target)) else "dense"
    return "multilabel" if len({storage(c.seen.preds) for c in candidates}) == 1 else None


def pieces(visits: list[Visit], number: int) -> list[Visit]:
    """The answers that the last part to return ``number`` of them stacked or listed, in order, as passes of their own."""
    for visit in reversed(visits):
        if visit.role in {"module", "forward"}:
            found = list(leaves(visit.output).values())
            if len(found) == 1 and found[0].dim() > 1 and len(found[0]) == number:
                found = list(found[0].detach().unbind(0))
            if len(found) == number:
                return [Visit(f"{visit.name}[{i}]", "module", (), {}, piece) for i, piece in enumerate(found)]
    return []
