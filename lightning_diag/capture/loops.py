"""Whether the loss calls of a step are one loss in pieces: positions of a sequence, parts of a long output."""

from __future__ import annotations

from lightning_diag.capture import values
from lightning_diag.capture.batch import leaves
from lightning_diag.capture.candidates import Candidate, Context
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
