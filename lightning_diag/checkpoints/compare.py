"""Compare a checkpoint with a model by content: which tensors hold the same numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import lru_cache
from math import prod

from torch import Tensor

from lightning_diag.checkpoints.align import Alignment, align, is_reshape, under
from lightning_diag.checkpoints.comparison import Comparison, Row, Status
from lightning_diag.checkpoints.content import (
    Pair,
    differ_in_full,
    distance,
    equal_precision,
    is_constant,
    is_pruned,
    is_scaled,
    is_sine_table,
)
from lightning_diag.checkpoints.expected import new_parts, other_heads
from lightning_diag.checkpoints.lookup import find_by_content, find_reordered
from lightning_diag.checkpoints.names import is_added
from lightning_diag.checkpoints.samples import SAMPLES, pick, sample_index, take_samples
from lightning_diag.checkpoints.sides import Side, make_sides
from lightning_diag.checkpoints.stacked import find_stacked

MIN_COVER = 0.1
"""Names that meet on less than this share of the smaller side meet by accident (``norm.weight``): then the shapes that
occur on both sides say how much could have been loaded."""

FAR = 0.01
"""Relative L2 distance of a tensor above which a factor per output is looked for."""

_COUNTED: tuple[Status, ...] = ("equal", "different", "shape", "missing")
_BETTER: Mapping[str, int] = {
    status: rank
    for rank, status in enumerate(("equal", "different", "shape", "head", "uninformative", "missing", "new"))
}


def compare(
    checkpoint_state: Mapping[str, Tensor],
    model_state: Mapping[str, Tensor],
    *,
    buffers: Collection[str] = (),
    full: bool = True,
    samples: int = SAMPLES,
    lightning_module: bool = False,
) -> Comparison:
    """Compare two state dicts: names are aligned, contents decide.

    Wrapper names are dropped, prefixes voted, tensors without a counterpart by name looked up by content. Casts are
    compared at the lower precision, weight norm is folded where one side has it, tied weights count once, the same
    constant on both sides counts for nothing, and running statistics and ``buffers`` are left out.

    Args:
        checkpoint_state: tensors of the checkpoint by name; neither side is changed or copied.
        model_state: tensors of the model by name.
        buffers: names in ``model_state`` that are buffers.
        full: compare every value of the tensors whose samples agree; else samples only.
        samples: values sampled per tensor.
        lightning_module: the model's top-level parts are modules of their own, so one that the checkpoint does not know
            at all is a new part, not a gap.
    """
    return compare_sides(
        *make_sides(checkpoint_state, model_state, buffers, samples, full=full),
        full=full,
        lightning_module=lightning_module,
    )


def compare_sides(checkpoint: Side, model: Side, *, full: bool, lightning_module: bool) -> Comparison:
    """:func:`compare` for sides whose samples were taken already."""
    alignment = align(checkpoint.shapes, model.shapes, lru_cache(maxsize=None)(_same_content(checkpoint, model)))
    rows = [_row_by_name(name, alignment.pairs.get(name), checkpoint, model) for name in model.weights]
    rows = find_stacked(find_by_content(rows, checkpoint, model), alignment.pairs.values(), checkpoint, model)
    if full:
        rows = find_reordered(rows, checkpoint, model)
    rows = _merge_tied(rows, model)
    rows = _set_aside(rows, alignment, checkpoint, model, lightning_module=lightning_module)
    if full:
        rows = _prove(rows, checkpoint, model)
    return _summarise(rows, alignment, checkpoint, model)


def _same_content(checkpoint: Side, model: Side) -> Callable[[str, str], bool]:
    def same(source: str, name: str) -> bool:
        if checkpoint.shape(source) != model.shape(name) or (source in checkpoint.constant and name in model.constant):
            return False
        return equal_precision(checkpoint.samples[source], model.samples[name]) is not None

    return same


def _row_by_name(name: str, source: str | None, checkpoint: Side, model: Side) -> Row:
    row = Row(name=name, source=source, numel=model.numel(name), status="missing", matrix=len(model.shape(name)) > 1)
    if source is None:
        return row
    same_shape = checkpoint.shape(source) == model.shape(name)
    if same_shape or is_reshape(checkpoint.shape(source), model.shape(name)):
        found = _row_same_shape(
            row, checkpoint.tensors[source], checkpoint.samples[source], source in checkpoint.constant, model
        )
        if same_shape or found.status == "equal":
            row = replace(found, reshaped=not same_shape)
    if row.status == "equal" or name in model.constant:
        return row if same_shape or row.reshaped else replace(row, status="shape")
    if turned := _row_turned(row, checkpoint.tensors[source], model):
        return turned
    return row if same_shape else _row_other_rows(row, checkpoint.tensors[source], model)


def _row_turned(row: Row, source: Tensor, model: Side) -> Row | None:
    """The row, if the checkpoint stores this kernel with its outputs last (TensorFlow, JAX, ``Conv1D``)."""
    theirs, ours = turned_round(source), model.samples[row.name]
    if theirs is None or tuple(theirs.shape) != model.shape(row.name):
        return None
    values = take_samples({"theirs": theirs}, len(ours))["theirs"]
    if len(values) != len(ours) or equal_precision(values, ours) is None:
        return None
    return replace(row, status="equal", turned=True, reset=False, distance=distance(values, ours, row.numel))


def turned_round(kernel: Tensor) -> Tensor | None:
    """A kernel (..., inputs, outputs) as (outputs, inputs, ...); None for vectors."""
    return kernel.permute(-1, -2, *range(kernel.dim() - 2)) if kernel.dim() > 1 else None


def _row_other_rows(row: Row, source: Tensor, model: Side) -> Row:
    """A table with more or fewer rows (a vocabulary that grew) keeps its first rows: the samples that lie in them are compared."""
    if source.dim() < 2 or source.shape[1:] != model.shape(row.name)[1:]:
        return replace(row, status="shape")
    index = sample_index(row.numel, model.count)
    inside = index < source.numel()
    theirs, ours = pick(source, index[inside]), model.samples[row.name][inside]
    equal = equal_precision(theirs, ours) is not None and not is_constant(ours)
    return replace(row, status="equal" if equal else "shape", distance=distance(theirs, ours, row.numel))


def _row_same_shape(row: Row, source: Tensor, theirs: Tensor, constant: bool, model: Side) -> Row:
    ours = model.samples[row.name]
    equal = equal_precision(theirs, ours) is not None
    if equal and ((constant and row.name in model.constant) or is_sine_table(source, theirs)):
        return replace(row, status="uninformative")
    reset = row.name in model.constant and not constant
    pruned = not equal and not reset and is_pruned(theirs, ours)
    gap = distance(theirs, ours, row.numel)
    # nearer than this it is rounding or training
    far = not (equal or pruned or reset) and (gap.relative_l2 or 0.0) > FAR
    scaled = far and row.matrix and is_scaled(theirs, ours, _outputs(row, model))
    return replace(
        row,
        status="equal" if equal or pruned or scaled else "different",
        pruned=pruned,
        scaled=scaled,
        reset=reset,
        distance=gap,
    )


def _outputs(row: Row, model: Side) -> Tensor:
    """First index of each sample."""
    return sample_index(row.numel, model.count) // (row.numel // model.shape(row.name)[0])


def _merge_tied(rows: list[Row], model: Side) -> list[Row]:
    """Keep one row per piece of memory, the one that found most."""
    best: dict[tuple[object, ...], Row] = {}
    for row in rows:
        key = model.storage(row.name)
        if key not in best or _BETTER[row.status] < _BETTER[best[key].status]:
            best[key] = row
    kept = {row.name for row in best.values()}
    return [row for row in rows if row.name in kept]


def _set_aside(
    rows: list[Row], alignment: Alignment, checkpoint: Side, model: Side, *, lightning_module: bool
) -> list[Row]:
    """Take out what the checkpoint was not meant to fill: other heads, new parts, all outside the matched module."""
    scope = [prefix for _, prefix in alignment.prefixes]
    order = [row.name for row in rows]
    missing = [row.name for row in rows if row.status == "missing"]
    inside = [name for name in missing if under(name, scope)]
    reshaped = {r.name: (model.shape(r.name), checkpoint.shape(str(r.source))) for r in rows if r.status == "shape"}
    matched = [name for name in order if name not in missing]
    new = set(missing) - set(inside) | new_parts(
        inside,
        order=order,
        matched=matched,
        scope=scope,
        spare=_spare_shapes(rows, checkpoint),
        shapes=model.shapes,
        lightning_module=lightning_module,
    )
    if 2 * sum(map(is_added, checkpoint.weights)) > len(checkpoint.weights):  # the file of an adapter, without the base
        new |= {name for name in missing if not is_added(name)}
    heads = other_heads(order, reshaped, [name for name in matched if name not in reshaped])
    return [replace(r, status="new" if r.name in new else "head" if r.name in heads else r.status) for r in rows]


def _spare_shapes(rows: list[Row], checkpoint: Side) -> Counter[tuple[int, ...]]:
    used = {row.source for row in rows if row.source is not None}
    return Counter(checkpoint.shape(s) for s in checkpoint.weights if s not in used)


def _prove(rows: list[Row], checkpoint: Side, model: Side) -> list[Row]:
    """Compare every value of the tensors whose samples agree."""
    todo = [r for r in rows if r.status == "equal" and not r.is_changed and r.source]
    todo = [r for r in todo if r.reshaped or checkpoint.shape(str(r.source)) == model.shape(r.name)]
    whole = {r.name for r in todo if r.numel <= model.count}  # all their values were compared already
    todo = [r for r in todo if r.name not in whole]
    pairs = []
    for row in todo:
        precision = equal_precision(checkpoint.samples[str(row.source)], model.samples[row.name])
        ours = model.tensors[row.name].detach()
        theirs = checkpoint.tensors[str(row.source)].reshape(ours.shape)
        sums = model.sums.get(row.name)
        pairs.append(Pair(theirs, ours, precision or ours.dtype, sums))
    exact = whole | {row.name for row, differs in zip(todo, differ_in_full(pairs), strict=True) if not differs}
    tried = whole | {row.name for row in todo}
    return [replace(row, exact=row.name in exact) if row.name in tried else row for row in rows]


def _summarise(rows: list[Row], alignment: Alignment, checkpoint: Side, model: Side) -> Comparison:
    used = {row.source for row in rows if row.source is not None}
    unused = tuple(name for name in checkpoint.weights if name not in used)
    mute = {row.source for row in rows if row.status == "uninformative"}
    ours = Counter(model.shape(row.name) for row in rows if row.status != "uninformative")
    theirs = Counter(shape for name, shape in checkpoint.shapes.items() if name not in mute)
    fit = sum(prod(shape) * min(count, theirs[shape]) for shape, count in ours.items())
    totals = sum(map(checkpoint.numel, checkpoint.weights)), sum(row.numel for row in rows)
    counted = sum(row.numel for row in rows if row.status in _COUNTED)
    named = sum(row.numel for row in rows if row.status in _COUNTED and not row.by_content)
    return Comparison(
        rows=tuple(rows),
        alignment=alignment,
        unused=unused,
        expected=counted if named >= MIN_COVER * min(totals) else max(counted, fit),
        shape_fit=fit / max(1, min(totals)),
        checkpoint_numel=totals[0],
        model_numel=totals[1],
    )


def compare_statistics(
    checkpoint: Mapping[str, Tensor], model: Mapping[str, Tensor], count: int = SAMPLES
) -> bool | None:
    """Whether running statistics equal the checkpoint's; None where there are none to compare.

    Args:
        checkpoint: tensors by name.
        model: samples by the same names, as :func:`~lightning_diag.checkpoints.samples.take_samples` takes them.
        count: values that were asked for per tensor.
    """
    theirs = take_samples({name: t for name, t in checkpoint.items() if name in model and t.numel() > 0}, count)
    pairs = [(values, model[name]) for name, values in theirs.items() if values.shape == model[name].shape]
    return all(equal_precision(a, b) is not None for a, b in pairs) if pairs else None
