"""Two files compared, and one file read as a plain state dict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from lightning_diag.checkpoints.best import Target, best_match, facts_of
from lightning_diag.checkpoints.names import is_statistic
from lightning_diag.checkpoints.nested import Candidate, State, find_state_dicts
from lightning_diag.checkpoints.reading import CheckpointFile, read_checkpoint
from lightning_diag.errors import CheckpointError
from lightning_diag.history import PretrainFacts


def candidates_of(file: CheckpointFile, key: str | None = None) -> list[Candidate]:
    """The state dicts in a file, with the file's name in the error when there is none."""
    try:
        return find_state_dicts(file.tree, key)
    except CheckpointError as error:
        raise CheckpointError(f"{file.path}: {error}") from error


def read_state_dict(path: str | Path, *, key: str | None = None, safe_globals: Sequence[Any] = ()) -> dict[str, Tensor]:
    """The tensors of a checkpoint of any format by name: the largest state dict in it, or the one under ``key``.

    Args:
        path: file or folder.
        key: path with dots to the state dict inside (``model.ema``); the empty string is the top level.
        safe_globals: as for :func:`read_checkpoint`.

    Raises:
        CheckpointError: the file cannot be read safely, or holds no tensors there.
    """
    return dict(candidates_of(read_checkpoint(path, safe_globals=safe_globals), key)[0].state)


def verify_files(
    checkpoint: str | Path,
    against: str | Path,
    *,
    module: str | None = None,
    key: str | None = None,
    safe_globals: Sequence[Any] = (),
) -> PretrainFacts:
    """Whether the weights of one file are in another one.

    Args:
        checkpoint: the weights that should be in.
        against: the file that should hold them (for example what the second stage saved in its first step).
        module: part of ``against`` to compare, a dotted prefix of its names (``encoder``); None to find it.
        key: state dict inside ``checkpoint`` to use; None to find the one that fits best.
        safe_globals: as for :func:`read_checkpoint`.

    Raises:
        CheckpointError: a file cannot be read safely, or ``against`` has no part called ``module``.
    """
    first, second = (
        read_checkpoint(checkpoint, safe_globals=safe_globals),
        read_checkpoint(against, safe_globals=safe_globals),
    )
    candidates = candidates_of(first, key)
    results = [
        facts_of(best_match(candidates, target), target, path=str(checkpoint), file=first)
        for target in _targets(second, module)
    ]
    return max(results, key=lambda facts: ((facts.equal or 0.0) * (facts.parameters or 0), facts.aligned or 0.0))


def _targets(file: CheckpointFile, module: str | None) -> list[Target]:
    """Every state dict of the second file that can play the model's part."""
    found = [_target(c.state, module, Path(file.path).name) for c in candidates_of(file) if not c.joined]
    targets = [target for target in found if target is not None]
    if not targets:
        names = {name for c in candidates_of(file) for name in c.state}
        deeper = {name[: at + len(str(module)) + 1] for name in names if (at := f".{name}".find(f".{module}.")) > 0}
        there = sorted({name.rstrip(".") for name in deeper} or {name.split(".")[0] for name in names})
        raise CheckpointError(f"{file.path}: no names start with {module!r} (there are: {', '.join(there[:8])}).")
    return targets


def _target(state: State, module: str | None, called: str) -> Target | None:
    prefix = f"{module}." if module else ""
    inside = {name[len(prefix) :]: tensor for name, tensor in state.items() if name.startswith(prefix)}
    if not inside:
        return None
    buffers = [name for name, tensor in inside.items() if is_statistic(name) or not tensor.is_floating_point()]
    names = {name: tuple(tensor.shape) for name, tensor in state.items()}
    return Target(state=inside, buffers=buffers, names=names, module=module or "", called=called)
