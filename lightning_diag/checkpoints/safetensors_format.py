"""The safetensors format: eight bytes of length, a JSON header, raw tensors.

Parsed here, in 60 lines, because the tensors are wanted as views of a memory map and the package is then not needed.
Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
import mmap
from pathlib import Path
from typing import Any

import torch

from lightning_diag.errors import CheckpointError

MAX_HEADER = 100_000_000
"""Bytes; the limit that the format's own reader sets against forged headers."""

_NAMES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
DTYPES: dict[str, torch.dtype] = {key: getattr(torch, name) for key, name in _NAMES.items()}


def looks_like_safetensors(head: bytes) -> bool:
    """Whether the first bytes of a file are a safetensors header."""
    return len(head) >= 9 and head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= MAX_HEADER


def read_safetensors(place: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file, as views of a private memory map (writing to one leaves the file intact).

    Raises:
        CheckpointError: the header is broken or points outside the file (a download that was cut off).
    """
    size = place.stat().st_size
    with place.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if 8 + length > size:
            raise CheckpointError(f"{place}: the file is cut off ({size} bytes, its header alone needs {8 + length}).")
        header = json.loads(handle.read(length))
        memory = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_COPY)
    header.pop("__metadata__", None)
    return {name: _view(place, memory, name, entry, 8 + length) for name, entry in header.items()}


def _view(place: Path, memory: mmap.mmap, name: str, entry: dict[str, Any], start: int) -> torch.Tensor:
    dtype = DTYPES.get(entry["dtype"])
    if dtype is None:
        raise CheckpointError(f"{place}: tensor {name} has the unknown type {entry['dtype']}.")
    shape, (begin, end) = tuple(entry["shape"]), entry["data_offsets"]
    count = math.prod(shape)
    if begin < 0 or end - begin != count * dtype.itemsize:
        raise CheckpointError(f"{place}: tensor {name} has a shape that does not fit its bytes.")
    if start + end > len(memory):
        raise CheckpointError(
            f"{place}: the file is cut off ({len(memory)} bytes, tensor {name} ends at {start + end})."
        )
    if count == 0:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(memory, dtype=dtype, count=count, offset=start + begin).reshape(shape)
