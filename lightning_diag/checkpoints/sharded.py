"""A Hugging Face index: a JSON file that says which shard holds which tensor."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from lightning_diag.errors import CheckpointError

INDEX_NAMES = (
    "model.safetensors.index.json",
    "pytorch_model.bin.index.json",
    "diffusion_pytorch_model.safetensors.index.json",
)


class _HasTree(Protocol):
    @property
    def tree(self) -> object: ...


Part = TypeVar("Part", bound=_HasTree)


def read_index(place: Path, read: Callable[[Path], Part]) -> list[tuple[Part, set[str]]]:
    """Read every shard of an index; pairs of (what was read, the names that the index expects in it).

    Raises:
        CheckpointError: the index is not one, a shard is absent, or a shard lacks a tensor the index promises.
    """
    weight_map = _weight_map(place)
    shards: list[tuple[Part, set[str]]] = []
    for file in sorted(set(weight_map.values())):
        wanted = {name for name, where in weight_map.items() if where == file}
        shards.append((_read_shard(place, file, wanted, read), wanted))
    return shards


def _weight_map(place: Path) -> dict[str, str]:
    try:
        weight_map = json.loads(place.read_text(encoding="utf-8"))["weight_map"]
        return {str(name): str(file) for name, file in weight_map.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{place}: not a checkpoint index (expected JSON with a weight_map).") from error


def _read_shard(place: Path, file: str, wanted: set[str], read: Callable[[Path], Part]) -> Part:
    shard = place.parent / file
    if Path(file).name != file:
        raise CheckpointError(f"{place}: the index names {file}, which is not a file beside it.")
    if not shard.is_file():
        raise CheckpointError(f"{place}: shard {file} is absent, so {len(wanted)} tensors are ({min(wanted)}, ...).")
    part = read(shard)
    held = set(part.tree) if isinstance(part.tree, dict) else set()
    if lacking := wanted - held:
        raise CheckpointError(f"{shard}: lacks {len(lacking)} tensors that the index promises ({min(lacking)}, ...).")
    return part
