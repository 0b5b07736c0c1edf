"""``torch.distributed.checkpoint`` folders, read without its unpickler.

``FileSystemReader`` loads ``.metadata`` with plain ``pickle``, which runs whatever the file says. Here the same bytes go
through an unpickler that knows the handful of record classes the format needs, and nothing else.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from lightning_diag.errors import CheckpointError

_RECORDS = {
    "torch.distributed.checkpoint.metadata": {
        "Metadata", "TensorStorageMetadata", "TensorProperties", "ChunkStorageMetadata", "BytesStorageMetadata",
        "MetadataIndex", "StorageMeta", "_MEM_FORMAT_ENCODING",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.serialization": {"_get_layout"},
    "torch": {"Size"},
    "collections": {"OrderedDict"},
}  # fmt: skip
"""The globals that a ``.metadata`` file written by torch 2.4 to 2.13 names; all of them only hold values."""

_OPTIMIZER = "optim"
"""Flattened names with a part that contains this belong to an optimiser: they are not read, to save the time."""


class _MetadataUnpickler(pickle.Unpickler):
    """Knows the record classes of the format; refuses every other global."""

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("pathlib") and name.endswith("Path"):
            return PurePosixPath  # a place on the machine that saved: only ever shown
        if name in _RECORDS.get(module, ()):
            return getattr(__import__(module, fromlist=[name]), name)
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        raise CheckpointError(f"the metadata want to call {module}.{name}, which is no part of the format.")


def read_distributed(place: Path) -> dict[str, Any]:
    """The tensors of a distributed checkpoint, put together from their chunks; optimiser state is left out.

    The files cannot be mapped (every chunk is an archive of its own), so the tensors take memory while they live.

    Raises:
        CheckpointError: the metadata hold something foreign, or a chunk file is absent or cut off.
    """
    metadata = _read_metadata(place)
    chunks: dict[str, list[tuple[Any, Any]]] = {}
    for index, info in metadata.storage_data.items():
        chunks.setdefault(index.fqn, []).append((index, info))
    tree: dict[str, Any] = {}
    for name, stored in metadata.state_dict_metadata.items():
        if type(stored).__name__ == "TensorStorageMetadata" and not _is_optimizer(name):
            _put(tree, metadata.planner_data, name, _assemble(place, name, stored, chunks.get(name, [])))
    return tree


def _read_metadata(place: Path) -> Any:
    try:
        metadata = _MetadataUnpickler(io.BytesIO((place / ".metadata").read_bytes())).load()
    except CheckpointError as error:
        raise CheckpointError(f"{place}: {error}") from error
    if type(metadata).__name__ != "Metadata":
        raise CheckpointError(f"{place}: .metadata is not that of a distributed checkpoint.")
    return metadata


def _is_optimizer(name: str) -> bool:
    return any(_OPTIMIZER in part.lower() for part in name.split("."))


def _assemble(place: Path, name: str, stored: Any, chunks: list[tuple[Any, Any]]) -> torch.Tensor:
    whole = torch.empty(tuple(stored.size), dtype=stored.properties.dtype)
    filled = 0
    for index, info in chunks:
        chunk = _read_chunk(place, info, name)
        corner = tuple(index.offset) if index.offset is not None else (0,) * whole.ndim
        where = tuple(slice(o, o + n) for o, n in zip(corner, chunk.shape, strict=True))
        whole[where].copy_(chunk)
        filled += chunk.numel()
    if filled < whole.numel():
        raise CheckpointError(f"{place}: only {filled} of {whole.numel()} values of {name} are in the folder.")
    return whole


def _read_chunk(place: Path, info: Any, name: str) -> torch.Tensor:
    file = place / str(info.relative_path)
    if getattr(info, "transform_descriptors", None):
        raise CheckpointError(f"{place}: {name} is stored compressed ({info.transform_descriptors}); save it plainly.")
    if Path(info.relative_path).name != str(info.relative_path) or not file.is_file():
        raise CheckpointError(f"{place}: the file {info.relative_path} is absent, and with it {name}.")
    with file.open("rb") as handle:
        handle.seek(info.offset)
        data = handle.read(info.length)
    if len(data) != info.length:
        raise CheckpointError(
            f"{file}: the file is cut off (tensor {name} ends after {info.offset + info.length} bytes)."
        )
    chunk = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    if not isinstance(chunk, torch.Tensor):
        raise CheckpointError(f"{file}: {name} is not a tensor.")
    return chunk


def _put(tree: dict[str, Any], planner: Any, name: str, tensor: torch.Tensor) -> None:
    """Rebuild the nesting that the planner flattened: ``("model", "a.weight")`` becomes ``tree["model"]["a.weight"]``."""
    *parents, leaf = _path(planner, name)
    for part in parents:
        tree = tree.setdefault(part, {})
    tree[leaf] = tensor


def _path(planner: Any, name: str) -> tuple[Any, ...]:
    path = planner.get(name) if isinstance(planner, dict) else None
    return tuple(path) if isinstance(path, (tuple, list)) and path else (name,)
