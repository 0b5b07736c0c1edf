"""Weights found by their values: under another name, or with their rows in another order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from lightning_diag.checkpoints.comparison import Row
from lightning_diag.checkpoints.content import LOWER, content_key, distance, equal_precision, sums_as
from lightning_diag.checkpoints.samples import pick, row_sums, sample_index
from lightning_diag.checkpoints.sides import Side


def find_by_content(rows: list[Row], checkpoint: Side, model: Side) -> list[Row]:
    """Look up, by shape and values, every weight whose counterpart by name is absent or different."""
    open_rows = [row for row in rows if row.status in ("different", "shape", "missing")]
    wanted = {row.name for row in open_rows} - model.constant
    spent = {row.source for row in rows if row.status == "equal"}
    free = _by_content([s for s in checkpoint.weights if s not in spent], checkpoint)
    # a weight whose name the checkpoint lacks may be a copy of one that is in (layers repeated, one network as two)
    every = _by_content(list(checkpoint.weights), checkpoint) | free
    found = [
        _looked_up(row, every if row.status == "missing" else free, checkpoint, model) if row.name in wanted else row
        for row in rows
    ]
    return _undo_permutations(rows, found, checkpoint)


def _by_content(sources: list[str], checkpoint: Side) -> dict[tuple[object, ...], str]:
    """The first name by shape and values; constants prove nothing."""
    index: dict[tuple[object, ...], str] = {}
    for source in reversed([s for s in sources if s not in checkpoint.constant]):
        values = checkpoint.samples[source]
        for dtype in dict.fromkeys((values.dtype, *LOWER)):
            index[content_key(checkpoint.shape(source), values, dtype)] = source
    return index


def _undo_permutations(before: list[Row], found: list[Row], checkpoint: Side) -> list[Row]:
    """Weights of another layer are loaded only where layers keep their order (a student of every second layer).

    Blocks loaded in reverse, or by ``zip`` over names in another order, hold the right numbers in the wrong places.
    """
    position = {name: i for i, name in enumerate(checkpoint.weights)}
    last: dict[tuple[object, ...], int] = {}
    wrong: set[tuple[object, ...]] = set()
    for old, new in zip(before, found, strict=True):
        if new.status == "equal" and new.source:
            kind = (checkpoint.shape(new.source), new.name.rpartition(".")[2])
            if new.by_content and old.source and position[new.source] < last.get(kind, -1):
                wrong.add(kind)
            last[kind] = max(position[new.source], last.get(kind, -1))
    return [
        replace(old, misplaced=True)
        if new.by_content and old.source and (checkpoint.shape(str(new.source)), new.name.rpartition(".")[2]) in wrong
        else new
        for old, new in zip(before, found, strict=True)
    ]


def _looked_up(row: Row, index: Mapping[tuple[object, ...], str], checkpoint: Side, model: Side) -> Row:
    values = model.samples[row.name]
    for dtype in dict.fromkeys((values.dtype, *LOWER)):
        source = index.get(content_key(model.shape(row.name), values, dtype))
        if source is not None and equal_precision(checkpoint.samples[source], values) is not None:
            gap = distance(checkpoint.samples[source], values, row.numel)
            return replace(row, source=source, status="equal", by_content=True, reset=False, distance=gap)
    return row


def find_reordered(rows: list[Row], checkpoint: Side, model: Side) -> list[Row]:
    """Recognise matrices whose rows are the checkpoint's in another order: rotary heads converted, another vocabulary.

    The sums over the rows' bits say which row belongs to which, if any; the samples say whether the two are equal. On another
    device both are there already.
    """
    return [_in_order(row, checkpoint, model) if _may_be_reordered(row, checkpoint, model) else row for row in rows]


def _may_be_reordered(row: Row, checkpoint: Side, model: Side) -> bool:
    comparable = row.status == "different" and row.matrix and not row.misplaced and row.name not in model.constant
    there = model.tensors[row.name].device.type == "cpu" or row.name in model.sums
    return comparable and there and checkpoint.shape(str(row.source)) == model.shape(row.name)


def _in_order(row: Row, checkpoint: Side, model: Side) -> Row:
    source, tensor = checkpoint.tensors[str(row.source)], model.tensors[row.name].detach()
    theirs = sums_as(source, tensor.dtype).sort()
    ours = (model.sums[row.name] if row.name in model.sums else row_sums(tensor)).sort()
    if not torch.equal(theirs.values, ours.values):
        return row
    belongs = torch.empty_like(ours.indices)
    belongs[ours.indices] = theirs.indices
    index, width = sample_index(row.numel, model.count), row.numel // len(belongs)
    values = pick(source, belongs[index // width] * width + index % width)
    if equal_precision(values, model.samples[row.name]) is None:
        return row
    return replace(row, status="equal", reordered=True, distance=distance(values, model.samples[row.name], row.numel))
