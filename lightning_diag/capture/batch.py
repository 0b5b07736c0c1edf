"""Tensors of a batch (or of an output) by path: tuples, mappings, dataclasses and plain objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

Path = tuple[Any, ...]
"""Keys, indices and attribute names from the root to a tensor; ``()`` is the root itself."""


class Attribute(str):
    """A key of a path that is the name of an attribute, not of an entry of a mapping."""

    __slots__ = ()


MAX_LEAVES = 256
MAX_DEPTH = 5

TARGET_NAMES = frozenset(
    [
        "y",
        "label",
        "labels",
        "target",
        "targets",
        "tgt",
        "gt",
        "truth",
        "ground_truth",
        "y_true",
        "true",
        "class",
        "classes",
        "class_id",
        "class_ids",
        "class_idx",
        "class_label",
        "category",
        "categories",
        "mask",
        "masks",
        "segmentation",
        "seg",
        "annotation",
        "annotations",
    ]
)
"""Names under which batches and loss functions hand over what is to be predicted."""

PRED_NAMES = frozenset(
    [
        "logits",
        "logit",
        "pred",
        "preds",
        "prediction",
        "predictions",
        "y_hat",
        "yhat",
        "y_pred",
        "output",
        "outputs",
        "out",
        "probs",
        "prob",
        "probabilities",
        "scores",
        "score",
        "log_probs",
        "input",
        "inputs",
        "x",
    ]
)
"""Names under which steps and loss functions hand over what was predicted."""


def leaves(root: object) -> dict[Path, Tensor]:
    """All tensors below ``root`` by path, in order, at most :data:`MAX_LEAVES`."""
    found: dict[Path, Tensor] = {}
    for path, tensor in _walk(root, (), set()):
        found[path] = tensor
        if len(found) >= MAX_LEAVES:
            break
    return found


def _walk(node: object, path: Path, above: set[int]) -> Iterator[tuple[Path, Tensor]]:
    if isinstance(node, Tensor):
        yield path, node
    elif len(path) < MAX_DEPTH and id(node) not in above:
        for key, child in _children(node):
            yield from _walk(child, (*path, key), above | {id(node)})


def _children(node: object) -> Iterator[tuple[Any, object]]:
    if isinstance(node, Mapping):
        yield from list(node.items())[:MAX_LEAVES]
    elif isinstance(node, list | tuple):
        yield from enumerate(node[:MAX_LEAVES])
    elif not isinstance(node, str | bytes | int | float | type) and hasattr(node, "__dict__") and not callable(node):
        yield from ((Attribute(name), child) for name, child in list(vars(node).items())[:MAX_LEAVES])


def pick(root: object, path: Path) -> Tensor | None:
    """The tensor at ``path``; None when this batch has none there."""
    for key in path:
        root = _child(root, key)
    return root if isinstance(root, Tensor) else None


def _child(node: object, key: Any) -> object:
    if isinstance(node, Mapping):
        return node.get(key)
    if isinstance(node, Sequence) and isinstance(key, int):
        return node[key] if key < len(node) else None
    return getattr(node, "__dict__", {}).get(key)


def batch_size(found: Mapping[Path, Tensor]) -> int | None:
    """The most common first dimension, the earlier of equals."""
    sizes = Counter(tensor.shape[0] for tensor in found.values() if tensor.dim())
    return sizes.most_common(1)[0][0] if sizes else None


def name_of(path: Path, root: str = "batch") -> str:
    """``batch[1]``, ``batch['labels']``, ``batch.labels``: as the user would write it."""
    return root + "".join(f".{key}" if isinstance(key, Attribute) else f"[{key!r}]" for key in path)


def is_named(path: Path, names: frozenset[str]) -> bool:
    """Whether the last key of ``path`` is one of ``names``."""
    return bool(path) and isinstance(path[-1], str) and path[-1].lower().lstrip("_") in names
