"""Checkpoints as trees of tensors, read without running anything that is in them.

Every format goes through ``weights_only=True`` or a parser that knows nothing but tensors. There is no fallback to
unsafe loading: what cannot be read safely is refused in one sentence that says what to do.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lightning_diag.checkpoints.distributed import read_distributed
from lightning_diag.checkpoints.safetensors_format import looks_like_safetensors, read_safetensors
from lightning_diag.checkpoints.sharded import INDEX_NAMES, read_index
from lightning_diag.errors import CheckpointError

LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The pickled magic number that starts a file of ``torch.save`` before version 1.6."""

SINGLE_NAMES = (
    "model.safetensors",
    "pytorch_model.bin",
    "diffusion_pytorch_model.safetensors",
    "adapter_model.safetensors",
)
"""What a folder in the Hugging Face layout holds when it is not sharded."""

FOREIGN: Sequence[tuple[bytes, str]] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the weights: run `git lfs pull`"),
    (b"<!DOCTYPE", "a web page: the download returned HTML instead of the weights"),
    (b"<html", "a web page: the download returned HTML instead of the weights"),
    (b"\x89HDF", "an HDF5 file (Keras): convert it to a PyTorch state dict"),
    (b"GGUF", "a GGUF file (llama.cpp): convert it to safetensors"),
    (b"\x93NUMPY", "a NumPy array: save a state dict with torch.save instead"),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
)


@dataclass(frozen=True, kw_only=True)
class CheckpointFile:
    """What was read.

    Attributes:
        path: as given; format: ``torch zip``, ``torch legacy``, ``safetensors``, ``sharded`` or ``distributed``.
        tree: the contents: nested dicts and lists whose leaves are tensors and plain values.
        mapped: True when the tensors are memory-mapped from disk (they take no memory of their own).
    """

    path: str
    format: str
    tree: Any
    mapped: bool


RUNS_COMMANDS = (
    "os.", "posix.", "nt.", "subprocess.", "sys.", "shutil.", "socket.", "runpy.", "importlib.", "pty.", "webbrowser.",
    "builtins.eval", "builtins.exec", "builtins.compile", "builtins.open", "builtins.__import__",
)  # fmt: skip
"""What runs commands, opens files or connections: a file that wants it is an attack, not an old checkpoint."""


def read_checkpoint(path: str | Path, *, safe_globals: Sequence[Any] = ()) -> CheckpointFile:
    """Read a checkpoint file or folder; tensors stay on disk (memory-mapped) where the format allows it.

    Formats: ``torch.save`` (zip and legacy), Lightning ``.ckpt``, safetensors, a Hugging Face index with shards, a
    folder with either, and ``torch.distributed.checkpoint`` folders. Tensors are on the CPU.

    Args:
        path: file or folder.
        safe_globals: classes and functions that the file may use besides tensors and plain containers, as for
            ``torch.serialization.safe_globals``. Only name what you trust: they are called while reading.

    Raises:
        CheckpointError: the file is missing, damaged, of another kind, or needs a global that is not allowed.
    """
    place = Path(path)
    if not place.exists():
        raise CheckpointError(f"{path}: no such file or folder.")
    reader = _read_folder if place.is_dir() else _read_file
    try:
        return reader(place, safe_globals)
    except CheckpointError:
        raise
    except Exception as error:  # a damaged file can raise anything: it must become one sentence
        raise CheckpointError(f"{path}: the file is damaged or incomplete ({_first_line(error)}).") from error


def _read_file(place: Path, safe_globals: Sequence[Any]) -> CheckpointFile:
    with place.open("rb") as handle:
        head = handle.read(64)
    if not head:
        raise CheckpointError(f"{place}: the file is empty.")
    if head.startswith(b"PK\x03\x04"):
        return _read_zip(place, safe_globals)
    if head.startswith(LEGACY_MAGIC):
        tree = _load_torch(place, safe_globals, mmap=False)
        return CheckpointFile(path=str(place), format="torch legacy", tree=tree, mapped=False)
    if place.name.endswith(".index.json"):
        return _from_index(place, safe_globals)
    if looks_like_safetensors(head):
        return CheckpointFile(path=str(place), format="safetensors", tree=read_safetensors(place), mapped=True)
    raise CheckpointError(f"{place}: {_describe_foreign(place, head)}.")


def _read_folder(place: Path, safe_globals: Sequence[Any]) -> CheckpointFile:
    if (place / ".metadata").is_file():
        return CheckpointFile(path=str(place), format="distributed", tree=read_distributed(place), mapped=False)
    for name in INDEX_NAMES:
        if (place / name).is_file():
            return _from_index(place / name, safe_globals)
    for name in SINGLE_NAMES:
        if (place / name).is_file():
            return _read_file(place / name, safe_globals)
    raise CheckpointError(
        f"{place}: the folder holds no checkpoint (looked for .metadata, {', '.join((*INDEX_NAMES, *SINGLE_NAMES))}). "
        "Name the file itself.",
    )


def _from_index(place: Path, safe_globals: Sequence[Any]) -> CheckpointFile:
    shards = read_index(place, lambda shard: _read_file(shard, safe_globals))
    tree = {name: tensor for part, wanted in shards for name, tensor in part.tree.items() if name in wanted}
    return CheckpointFile(path=str(place), format="sharded", tree=tree, mapped=all(part.mapped for part, _ in shards))


def _read_zip(place: Path, safe_globals: Sequence[Any]) -> CheckpointFile:
    try:
        with zipfile.ZipFile(place) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise CheckpointError(f"{place}: the file is cut off or damaged ({error}). Copy or save it again.") from error
    if not any(name.endswith("data.pkl") for name in names):
        raise CheckpointError(f"{place}: a zip archive, but not one that torch.save wrote (no data.pkl in it).")
    if any(name.endswith("constants.pkl") for name in names):
        raise CheckpointError(f"{place}: a TorchScript archive. Save module.state_dict() with torch.save instead.")
    tree = _load_torch(place, safe_globals, mmap=True)
    return CheckpointFile(path=str(place), format="torch zip", tree=tree, mapped=True)


def _load_torch(place: Path, safe_globals: Sequence[Any], *, mmap: bool) -> Any:
    try:
        with torch.serialization.safe_globals(list(safe_globals)):
            return torch.load(place, map_location="cpu", mmap=mmap, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_blocked_sentence(place, error, mmap)) from error


def _blocked_sentence(place: Path, error: Exception, zipped: bool) -> str:  # (zip files can list all their globals)
    blocked = _blocked_globals(place, error, zipped)
    if not blocked:
        return f"{place}: the file is damaged, or holds something else than tensors ({_first_line(error)})."
    names = ", ".join(blocked[:6]) + (f" and {len(blocked) - 6} more" if len(blocked) > 6 else "")
    seen = f"{place}: the file wants to call {names}, which can run code, so it was not read."
    if any(name.startswith(RUNS_COMMANDS) for name in blocked):
        return f"{seen} No checkpoint needs that: do not open this file in any other way either."
    return (
        f"{seen} Save only the state dict (torch.save(model.state_dict(), path)), or, if you trust the file, pass "
        f"safe_globals=[{blocked[0]}{', ...' if len(blocked) > 1 else ''}]."
    )


def _blocked_globals(place: Path, error: Exception, zipped: bool) -> list[str]:
    lister: Callable[[Path], list[str]] = torch.serialization.get_unsafe_globals_in_checkpoint
    if zipped:
        try:
            return sorted(lister(place))
        except Exception:  # noqa: BLE001  (the list only improves a message that is written anyway)
            return []
    named = re.search(r"(?:GLOBAL|global:?) `?([A-Za-z_][\w.]*\.[\w.]+)", str(error))
    return [named.group(1)] if named else []


def _describe_foreign(place: Path, head: bytes) -> str:
    for magic, what in FOREIGN:
        if head.lower().startswith(magic.lower()):
            return f"this is {what}"
    if head[:1] == b"\x80":
        return (
            "a plain pickle, which can run code when it is loaded, so it was not read. Save the state dict with "
            "torch.save(model.state_dict(), path)"
        )
    if place.suffix == ".json":
        return "a JSON file, but not a checkpoint index (expected a name that ends in .index.json)"
    return "not a checkpoint (expected a file of torch.save, a safetensors file, or a checkpoint folder)"


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:160]}" if text else type(error).__name__
