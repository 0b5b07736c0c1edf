"""Matrices that one side keeps as one tensor and the other as several: query, key and value; the gates of a recurrent layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from torch import Tensor

from lightning_diag.checkpoints.comparison import Row
from lightning_diag.checkpoints.content import content_key, distance, equal_precision, is_constant
from lightning_diag.checkpoints.samples import pick, sample_index, take_samples
from lightning_diag.checkpoints.sides import Side

PIECES = (2, 3, 4)
"""Key and value; query, key and value; the gates of an LSTM."""

_Key = tuple[object, ...]


def find_stacked(rows: list[Row], paired: Iterable[str], checkpoint: Side, model: Side) -> list[Row]:
    """Look up the weights without a counterpart as parts of the checkpoint's tensors, or as several of them.

    Args:
        rows: one per weight of the model.
        paired: names of the checkpoint that met a name of the model; they are not tried.
        checkpoint: its tensors and samples.
        model: the same.
    """
    spent = {row.source for row in rows if row.source} | set(paired)
    free = [s for s in checkpoint.weights if s not in spent and s not in checkpoint.constant]
    open_rows = [row for row in rows if row.status in ("missing", "shape") and row.name not in model.constant]
    if not free or not open_rows:
        return rows
    found = _as_parts(open_rows, free, checkpoint, model) | _as_stacks(open_rows, free, checkpoint, model)
    return [found.get(row.name, row) for row in rows]


def _pieces(tensors: Mapping[str, Tensor], count: int, shapes: set[tuple[int, ...]]) -> dict[str, tuple[str, Tensor]]:
    """Equal parts along the first dimension whose shape occurs on the other side, under names of their own."""
    return {
        f"{name}[{i}/{count}]": (name, piece)
        for name, tensor in tensors.items()
        if len(tensor) % count == 0 and (len(tensor) // count, *tensor.shape[1:]) in shapes
        for i, piece in enumerate(tensor.chunk(count))
    }


def _index(samples: Mapping[str, Tensor], pieces: Mapping[str, tuple[str, Tensor]]) -> dict[_Key, str]:
    """Name by shape and first values; parts that are constant prove nothing."""
    return {
        content_key(piece.shape, samples[name], samples[name].dtype): name
        for name, (_, piece) in pieces.items()
        if not is_constant(samples[name])
    }


def _as_parts(rows: list[Row], free: list[str], checkpoint: Side, model: Side) -> dict[str, Row]:
    """Weights that are a part of one of the checkpoint's tensors."""
    found: dict[str, Row] = {}
    shapes = {model.shape(row.name) for row in rows}
    for count in PIECES:
        pieces = _pieces({s: checkpoint.tensors[s] for s in free}, count, shapes)
        samples = take_samples({name: piece for name, (_, piece) in pieces.items()})
        index = _index(samples, pieces)
        for row in rows:
            ours = model.samples[row.name]
            part = index.get(content_key(model.shape(row.name), ours, ours.dtype))
            if part is not None and equal_precision(samples[part], ours) is not None:
                found[row.name] = _equal(row, pieces[part][0], samples[part], ours)
    return found


def _as_stacks(rows: list[Row], free: list[str], checkpoint: Side, model: Side) -> dict[str, Row]:
    """Weights that several of the checkpoint's tensors make up, looked up by the samples that lie in each part."""
    found: dict[str, Row] = {}
    for count in PIECES:
        for shape in {model.shape(row.name) for row in rows}:
            members = [row for row in rows if model.shape(row.name) == shape]
            sources = [s for s in free if checkpoint.shape(s) == (shape[0] // count, *shape[1:])]
            if len(sources) >= count and shape[0] % count == 0:
                found |= _stacks_of(members, sources, count, checkpoint, model)
    return found


def _stacks_of(rows: list[Row], sources: list[str], count: int, checkpoint: Side, model: Side) -> dict[str, Row]:
    """The same for weights of one shape, and tensors of the shape of their parts."""
    found: dict[str, Row] = {}
    size = rows[0].numel // count
    index = sample_index(rows[0].numel, model.count)
    inside = [index // size == part for part in range(count)]
    values = [
        {s: pick(checkpoint.tensors[s], index[i] - part * size) for s in sources} for part, i in enumerate(inside)
    ]
    dtype = model.samples[rows[0].name].dtype
    names = [{content_key((), v, dtype): name for name, v in there.items()} for there in values]
    for row in rows:
        ours = [model.samples[row.name][i] for i in inside]
        parts = [at.get(content_key((), mine, dtype)) for at, mine in zip(names, ours, strict=True)]
        pairs = [(there[p], mine) for there, p, mine in zip(values, parts, ours, strict=True) if p is not None]
        if len(pairs) == count and all(equal_precision(a, b) is not None and not is_constant(b) for a, b in pairs):
            found[row.name] = _equal(row, str(parts[0]), *pairs[0])
    return found


def _equal(row: Row, source: str, theirs: Tensor, ours: Tensor) -> Row:
    gap = distance(theirs, ours, row.numel)
    return replace(row, source=source, status="equal", by_content=True, stacked=True, reset=False, distance=gap)
