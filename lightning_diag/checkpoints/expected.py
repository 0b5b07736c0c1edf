"""What a checkpoint was meant to fill: heads with other classes and new parts are normal, gaps are not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from lightning_diag.checkpoints.names import is_added, is_head_like, parent

Shape = tuple[int, ...]


def rows_differ_only(ours: Shape, theirs: Shape) -> bool:
    """Whether only the first dimension differs: the class count of an output layer, the size of a vocabulary."""
    return len(ours) == len(theirs) and ours[1:] == theirs[1:] and ours[0] != theirs[0]


def other_heads(order: Sequence[str], reshaped: Mapping[str, tuple[Shape, Shape]], filled: Collection[str]) -> set[str]:
    """Names of output layers whose class count differs.

    A layer inside the network cannot change its number of outputs alone, so a tensor that differs in its first
    dimension only and has nothing filled or otherwise misshapen after it is the output layer. One before the end
    must also be called like one (auxiliary heads).

    Args:
        order: names of the model in the order of definition.
        reshaped: name -> (shape in the model, shape in the checkpoint) of all tensors whose shapes differ.
        filled: names whose shapes agree.
    """
    candidates = {name for name, (ours, theirs) in reshaped.items() if rows_differ_only(ours, theirs)}
    blockers = set(filled) | (set(reshaped) - candidates)
    last = max((i for i, name in enumerate(order) if name in blockers), default=-1)
    position = {name: i for i, name in enumerate(order)}
    return {name for name in candidates if position[name] > last or is_head_like(name)}


def new_parts(
    missing: Iterable[str],
    *,
    order: Sequence[str],
    matched: Collection[str],
    scope: Sequence[str],
    spare: Counter[Shape],
    shapes: Mapping[str, Shape],
    lightning_module: bool,
) -> set[str]:
    """Names, of those the checkpoint lacks, that it was never meant to fill.

    A weight is a gap, not a new part, when the checkpoint has an unused tensor of its shape (it was renamed), when its
    module has matched parts around it, or when it continues a numbered row (``layer3`` beside ``layer1``).

    Args:
        missing: names without counterpart, inside the scope.
        order: all names in the order of definition.
        matched: names with a counterpart.
        scope: prefixes of the model that the checkpoint covers.
        spare: shapes of the checkpoint's unused tensors, with their number.
        shapes: of the model's weights.
        lightning_module: top-level parts are modules of their own.
    """
    position = {name: i for i, name in enumerate(order)}
    last = max((position[name] for name in matched), default=-1)
    tail = {name for name in missing if position[name] > last}
    one_leaf = len({parent(name) for name in tail}) == 1
    children = {_child(name, scope) for name in matched}
    left = Counter(spare)
    return {
        name
        for name in missing
        if is_added(name)
        or (
            not _renamed(name, shapes[name], left)
            and _is_new(name, _child(name, scope), children, in_tail=name in tail, one_leaf=one_leaf)
        )
        or (lightning_module and "" in scope and _child(name, scope) not in children and not left[shapes[name]])
    }


def _renamed(name: str, shape: Shape, left: Counter[Shape]) -> bool:
    if is_head_like(name) or left[shape] == 0:
        return False
    left[shape] -= 1
    return True


def _is_new(name: str, child: str, children: Collection[str], *, in_tail: bool, one_leaf: bool) -> bool:
    if in_tail and (one_leaf or is_head_like(name)):
        return True
    numbered = {_stem(other) for other in children if _stem(other) != other}
    return child not in children and in_tail and (_stem(child) == child or _stem(child) not in numbered)


def _child(name: str, scope: Sequence[str]) -> str:
    """The first part of a name below the longest prefix that covers it."""
    prefix = max((p for p in scope if not p or name.startswith(p + ".")), key=len, default="")
    rest = name[len(prefix) + 1 :] if prefix else name
    return rest.split(".")[0]


def _stem(word: str) -> str:
    return re.sub(r"\d+$", "", word)
