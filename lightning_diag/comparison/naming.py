"""Short names that tell runs apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_FILES = frozenset({"history.jsonl", "metrics.csv", "results.csv", "trainer_state.json", "mlflow.db"})
_SUFFIXES = frozenset({".csv", ".tsv", ".json", ".jsonl", ".wandb", ".db", ".log", ".txt"})


def short_names(paths: Sequence[Path], marks: Sequence[str]) -> list[str]:
    """A name for each run: the parts of its path without those that all share, and its mark (run of a store).

    Args:
        paths: of the logs.
        marks: of the same length; empty where a path holds one run.
    """
    parts = [_parts(path) for path in paths]
    start, end = _shared(parts), _shared([p[::-1] for p in parts])
    names = []
    for own, mark in zip(parts, marks, strict=True):
        kept = own[start : len(own) - end] or own[-1:]
        names.append("/".join(filter(None, [*kept, mark[:8]])))
    return [name if names.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(names)]


def _parts(path: Path) -> list[str]:
    """Parts of a path without the file name that every run folder has."""
    if path.name in _FILES:
        return list(path.parent.parts)
    return list(path.with_suffix("").parts if path.suffix in _SUFFIXES else path.parts)


def _shared(parts: Sequence[Sequence[str]]) -> int:
    """How many leading parts all have in common."""
    shared = 0
    while parts and all(len(p) > shared and p[shared] == parts[0][shared] for p in parts):
        shared += 1
    return shared
