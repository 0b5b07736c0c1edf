"""Where in a checkpoint the state dicts are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from lightning_diag.errors import CheckpointError

State = Mapping[str, torch.Tensor]

MAX_DEPTH = 4
"""Levels searched; the deepest seen in public code is three (``ckpt["model"]["student"]["state_dict"]``)."""

MAX_CANDIDATES = 12
"""State dicts compared; the largest are kept."""

_SKIPPED = ("optim", "scheduler", "scaler", "rng_state")
"""A key that contains one of these holds the state of training, whose tensors look like weights and are none."""


@dataclass(frozen=True)
class Candidate:
    """One state dict of a checkpoint: the keys that lead to it, and its tensors by name."""

    path: tuple[str | int, ...]
    state: State
    joined: bool = False
    """True when the tensors of several nested dicts were joined by dotted names."""

    @property
    def label(self) -> str:
        """The path as code after the checkpoint's name: ``["ema"]["model"]``; empty for the file's top level."""
        return "".join(f"[{part!r}]" for part in self.path)


def find_state_dicts(tree: Any, key: str | None = None) -> list[Candidate]:
    """Every dict with a tensor in it, largest first; dicts of dicts also joined under dotted names.

    Args:
        tree: contents of a checkpoint.
        key: take this one only: a key of the top level, or a path with dots (``model.ema``).

    Raises:
        CheckpointError: there is no tensor in the checkpoint, or nothing under ``key``.
    """
    found = sorted(_walk(tree, ()), key=lambda c: -sum(t.numel() for t in c.state.values()))
    if isinstance(tree, torch.Tensor):
        raise CheckpointError(f"one tensor of shape {tuple(tree.shape)} without a name; save a dict, {{name: tensor}}.")
    if not found:
        raise CheckpointError("the checkpoint holds no tensors.")
    if key is None:
        return found[:MAX_CANDIDATES]
    chosen = [c for c in found if ".".join(map(str, c.path)) == key]
    if not chosen:
        there = ", ".join(repr(".".join(map(str, c.path))) for c in found[:8] if c.path) or "none: it is one flat dict"
        raise CheckpointError(f"the checkpoint has no state dict under key={key!r} (found: {there}).")
    return chosen[:1]


def _walk(node: Any, path: tuple[str | int, ...]) -> Iterator[Candidate]:
    children = _children(node) if len(path) <= MAX_DEPTH else ()
    own = {str(k): v.detach() for k, v in children if isinstance(v, torch.Tensor)}
    below = [c for k, v in children if not isinstance(v, torch.Tensor) for c in _walk(v, (*path, k))]
    if own:
        yield Candidate(path, own)
    if len(below) + bool(own) > 1 and (joined := _join(path, own, below)):
        yield joined
    yield from below


def _children(node: Any) -> tuple[tuple[str | int, Any], ...]:
    if isinstance(node, Mapping):
        return tuple((k, v) for k, v in node.items() if isinstance(k, (str, int)) and not _skipped(k))
    if isinstance(node, (list, tuple)) and len(node) <= 16:
        return tuple(enumerate(node))
    return ()


def _skipped(key: str | int) -> bool:
    return isinstance(key, str) and "." not in key and any(word in key.lower() for word in _SKIPPED)


def _join(path: tuple[str | int, ...], own: dict[str, torch.Tensor], below: list[Candidate]) -> Candidate | None:
    """``{"encoder": {...}, "decoder": {...}}`` as one state dict with ``encoder.`` and ``decoder.`` before the names."""
    leaves = [c for c in below if not c.joined]
    joined = dict(own)
    for leaf in leaves:
        prefix = ".".join(map(str, leaf.path[len(path) :]))
        joined.update({f"{prefix}.{name}": tensor for name, tensor in leaf.state.items()})
    return Candidate(path, joined, joined=True) if leaves else None
