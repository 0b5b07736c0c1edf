"""Several loss calls in one step: which of them is the pair of the report, and why."""

from __future__ import annotations

from collections import Counter

from torch import Tensor

from lightning_diag.capture import targets, values
from lightning_diag.capture.batch import batch_size, leaves, name_of
from lightning_diag.capture.calls import LossCall
from lightning_diag.capture.candidates import Candidate, Context, Origin
from lightning_diag.capture.choice import Choice, signature_of
from lightning_diag.capture.influence import factors, is_made_with, is_masked, returned_loss
from lightning_diag.capture.loops import columns, is_loop, pieces
from lightning_diag.capture.matching import match_leaf, match_output
from lightning_diag.capture.observation import Observation
from lightning_diag.capture.reading import ChangedInPlace, Rejected, read, reversed_arguments
from lightning_diag.capture.taps import Visit
from lightning_diag.capture.values import storage

_RANK = {
    "ctc": 4,
    "multiclass": 3,
    "dense": 3,
    "multilabel": 3,
    "binary": 3,
    "soft": 2,
    "mixup": 2,
    "regression": 1,
    "other": 0,
}


def choose(calls: list[LossCall], context: Context) -> Choice:
    """Decide how steps with these calls are read.

    Raises:
        Rejected: when no call gives a usable pair; the text says why.
    """
    signature = signature_of(calls)
    candidates, reasons = _readable(calls, context)
    candidates = _trained(candidates, reasons)
    candidates = _distinct(candidates, reasons)
    if not candidates:
        raise Rejected("; ".join(dict.fromkeys(reasons)) or "no usable loss call")
    for candidate in candidates:
        _refine(candidate, context)
        _compare_with_training(candidate, context)
    masked = _hide(candidates, context)
    _weigh(candidates, context)
    _tell_apart(candidates)
    names = {c.index: c.call.name for c in candidates if c.call.name}
    reverse = tuple(
        c.index for c in candidates if reversed_arguments(c.call) or c.call.entry.name in context.reversed_sites
    )
    margins = frozenset((c.call.entry.name, c.call.name) for c in candidates if _has_margin(c, context))
    common = Choice(
        signature,
        (),
        margins=margins,
        reverse=reverse,
        rejected=tuple(dict.fromkeys(reasons)),
        names=names,
        masked=masked,
    )
    return _decide(candidates, context, common)


def _tell_apart(candidates: list[Candidate]) -> None:
    """Number the heads whose names are the same."""
    counts = Counter(c.call.name for c in candidates if c.call.name)
    for c in candidates:
        if counts[c.call.name] > 1:
            c.call.name = f"{c.call.name} #{c.index + 1}"


def _decide(candidates: list[Candidate], context: Context, choice: Choice) -> Choice:
    first = candidates[0]
    if _is_mixup(candidates):
        choice.order, choice.task = tuple(c.index for c in candidates), "mixup"
        choice.reason = f"{len(candidates)} targets for the same predictions: mixup"
        return choice
    if is_loop(candidates, context):
        choice.order, choice.loop, choice.task = tuple(c.index for c in candidates), True, "dense"
        choice.reason = f"{len(candidates)} calls of one loop, joined"
        return choice
    single = [c for c in candidates if c.call.entry.family == "element"]
    alone = len(single) + _uncounted(candidates) == len(candidates)
    task = columns(single, batch_size(context.batch)) if single and alone else None
    if task is not None:
        choice.order, choice.loop, choice.columns, choice.task = tuple(c.index for c in single), True, True, task
        choice.one_hot = task != "multilabel"
        choice.reason = f"{len(single)} calls, each of one class, joined"
        return choice
    ranked = sorted(candidates, key=_key)
    best, last = _answer(ranked, context)
    choice.order = (best.index, *(c.index for c in candidates if c is not best))
    choice.task, choice.one_hot, choice.head = best.seen.task, best.one_hot, best.head
    choice.doubt = any(c.doubt for c in candidates)
    if best.seen.task == "multiclass" and best.given_labels:
        choice.task, choice.margin = "other", True
    if len(candidates) > 1:
        others = [c for c in ranked if c is not best]
        choice.reason = _why(best, others[0], len(candidates), first, last=last)
        choice.heads = tuple(_label(c) for c in candidates if c is not best)
    return choice


def _readable(calls: list[LossCall], context: Context) -> tuple[list[Candidate], list[str]]:
    candidates: list[Candidate] = []
    reasons: list[str] = []
    size = batch_size(context.batch)
    for index, call in enumerate(calls):
        if call.gone:
            continue
        seen = _try(call, size, reverse=call.entry.name in context.reversed_sites)
        if isinstance(seen, str):
            reasons.append(f"{call.entry.name}: {seen}")
        else:
            candidates.append(Candidate(index, call, seen))
    return candidates, reasons


def _try(call: LossCall, size: int | None, *, reverse: bool) -> Observation | str:
    try:
        return read(call, reverse=reverse, batch_size=size)
    except ChangedInPlace:
        raise
    except Rejected as reason:
        return str(reason)


def _trained(candidates: list[Candidate], reasons: list[str]) -> list[Candidate]:
    """Where gradients are recorded, a call whose inputs need none is a metric, not the loss."""
    trained = [c for c in candidates if c.call.preds.requires_grad or c.call.target.requires_grad]
    recording = any(c.call.graph for c in candidates)
    if not recording or not trained or len(trained) == len(candidates):
        return candidates
    reasons += [f"{c.call.entry.name}: made without gradients" for c in candidates if c not in trained]
    return trained


def _distinct(candidates: list[Candidate], reasons: list[str]) -> list[Candidate]:
    """The same pair handed to a loss twice counts once."""
    kept: dict[tuple[object, ...], Candidate] = {}
    for c in candidates:
        key = (
            c.call.preds.data_ptr(),
            storage(c.call.target),
            c.call.target.data_ptr(),
            c.seen.preds.shape,
            c.seen.task,
        )
        if key in kept:
            reasons.append(f"{c.call.entry.name}: the same pair again")
        else:
            kept[key] = c
    return list(kept.values())


def _refine(candidate: Candidate, context: Context) -> None:
    """Where the target comes from, and what its values say about the task."""
    seen = candidate.seen
    match = match_leaf(seen.target, context.batch)
    candidate.leaf = match[0] if match else None
    candidate.origin = _origin(seen.preds, context.visits)
    candidate.given_labels = _has_margin(candidate, context) or targets.made_with(
        seen, match, context.batch, context.visits
    )
    if seen.task == "dense" and _is_repeated(candidate, context):
        seen.task = "multiclass"
    family = candidate.call.entry.family
    if candidate.leaf is None and context.batch and targets.is_made_up(seen, context.batch):
        candidate.doubt, seen.task = seen.task, "other"
    elif family == "element" and seen.task in {"binary", "multilabel"}:
        seen.task, candidate.leaf, candidate.one_hot = targets.of_elements(seen, match, context.batch, context.visits)
    elif family == "divergence" and not targets.is_distribution(seen):
        seen.task = "other"
    elif seen.task == "soft" and family == "class" and values.is_one_hot(seen.target, seen.class_dim):
        candidate.one_hot, seen.task = True, "dense" if seen.preds.dim() > 2 else "multiclass"


def _has_margin(candidate: Candidate, context: Context) -> bool:
    """Whether a margin was taken off the right class before the loss, by the graph; without a graph as in training."""
    call, seen = candidate.call, candidate.seen
    if call.preds.grad_fn is None:
        return (call.entry.name, call.name) in context.margin_sites
    return seen.task == "multiclass" and seen.preds.dim() == 2 and is_made_with(call.preds, seen.target)


def _compare_with_training(candidate: Candidate, context: Context) -> None:
    """Whether this is the head that training reads; then one step whose targets look made up is no reason to drop them."""
    if context.trained is None:
        return
    candidate.likeness = candidate.head.likeness(context.trained)
    if candidate.likeness and candidate.doubt == context.trained.task:
        candidate.seen.task, candidate.doubt = candidate.doubt, ""


def _origin(preds: Tensor, visits: list[Visit]) -> Origin | None:
    """The latest pass whose output lies in the memory of the predictions, whichever part of it they are."""
    for visit in reversed(visits):
        if visit.role in {"module", "forward"}:
            for output in leaves(visit.output).values():
                if storage(output) == storage(preds):
                    return Origin(visit.name, visit.turn, output.dim())
    return None


def _is_repeated(candidate: Candidate, context: Context) -> bool:
    """More targets than samples, but from views of the samples put behind each other, not from positions."""
    flat = candidate.seen.target.dim() == 1 and candidate.origin is not None and candidate.origin.dims == 2
    return flat and (candidate.leaf is None or context.batch[candidate.leaf].dim() < 2)


def _hide(candidates: list[Candidate], context: Context) -> frozenset[str]:
    """Names of unreduced losses of which a mask hides entries: which labels count is not known where there is no graph."""
    loss, masked = returned_loss(context.result), set()
    for c in candidates:
        counted = c.seen.counts or c.seen.task == "soft"
        name, unreduced = c.call.entry.name, c.seen.reduction == "none" and counted
        if unreduced and (name in context.masked_sites or (loss is not None and is_masked(loss, c.call.result))):
            masked.add(name)
            c.seen.task = "other"
    return frozenset(masked)


def _weigh(candidates: list[Candidate], context: Context) -> None:
    """The factor of each call in the returned loss, where the graph tells it."""
    loss = returned_loss(context.result)
    if len(candidates) < 2 or loss is None or loss.grad_fn is None:
        return
    for candidate, factor in zip(candidates, factors(loss, [c.call.result for c in candidates]), strict=True):
        candidate.factor = factor


def _is_mixup(candidates: list[Candidate]) -> bool:
    """The same predictions against different targets of one kind."""
    if len(candidates) < 2 or candidates[0].seen.task not in {"multiclass", "binary", "multilabel", "dense"}:
        return False
    first = candidates[0]
    return all(
        c.call.entry is first.call.entry
        and c.seen.preds.data_ptr() == first.seen.preds.data_ptr()
        and c.seen.preds.shape == first.seen.preds.shape
        for c in candidates[1:]
    )


def _key(candidate: Candidate) -> tuple[float, ...]:
    """Sort key, best first: the head of training, target of the batch, kind of task, weight in the loss, order."""
    factor = 1.0 if candidate.factor is None else candidate.factor
    in_batch = candidate.leaf is not None
    return (-candidate.likeness, -float(in_batch), -_RANK.get(candidate.seen.task, 0), -factor, candidate.index)


def _uncounted(candidates: list[Candidate]) -> int:
    return sum(_RANK.get(c.doubt or c.seen.task, 0) < _RANK["soft"] for c in candidates)


def _answer(ranked: list[Candidate], context: Context) -> tuple[Candidate, bool]:
    """The best call; of several heads that learn the same labels in equal parts, the one that the network makes last.

    The heads before it help to train the parts below (a head over convolutions under a recurrent one, the stages of a
    refinement). Passes of one module are no such heads.

    Returns:
        The call, and whether it was chosen for being the last.
    """
    best = ranked[0]
    alike = [c for c in ranked if _key(c)[:-1] == _key(best)[:-1] and _learns_the_same(c, best)]
    for passes in (context.visits, pieces(context.visits, len(alike))) if len(alike) > 1 else ():
        found = [match_output(c.seen.preds, passes[::-1]) for c in alike]
        visits = [match[0] for match in found if match is not None]
        if len({visit.name for visit in visits}) == len(alike):
            turns = [next(i for i, other in enumerate(passes) if other is visit) for visit in visits]
            return alike[turns.index(max(turns))], True
    return best, False


def _learns_the_same(candidate: Candidate, other: Candidate) -> bool:
    same_kind = candidate.call.entry is other.call.entry and candidate.seen.num_classes == other.seen.num_classes
    return same_kind and (candidate is other or values.same(candidate.seen.target, other.seen.target))


def _why(best: Candidate, second: Candidate, number: int, first: Candidate, *, last: bool) -> str:
    """The first criterion by which the best differs from the next."""
    name = _label(best)
    if last:
        return f"{name}, of {number} loss calls: the last head of those with its labels"
    for position, text in enumerate(
        ("training reads it", f"its target is {name_of(best.leaf or ())}", "its task can be counted", "it weighs most")
    ):
        if _key(best)[position] != _key(second)[position]:
            return f"{name}, of {number} loss calls: {text}"
    return f"{name}, the first of {number} equal loss calls" if best is first else f"{name}, of {number} loss calls"


def _label(candidate: Candidate) -> str:
    return candidate.call.name or f"{candidate.call.entry.name} #{candidate.index + 1}"
