"""TensorBoard event files, read without TensorFlow.

A file is a sequence of records: eight bytes of length, four of checksum, the ``Event`` message, four of checksum
(TFRecord). The messages are parsed with TensorBoard's own protocol buffers; the frames are read here, because a length
that a torn or hostile file states must not be allocated before it is compared with the size of the file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning_diag.errors import RecordError
from lightning_diag.readers.log import Log
from lightning_diag.readers.params import read_yaml

PATTERN = "*tfevents*"
MAX_FILES = 1000


def read_tensorboard(folder: Path) -> Log:
    """Read the scalars of all event files in and below ``folder``.

    A sub-folder is a stage or a tag group of its own (Keras: ``train`` and ``validation``; ``add_scalars``) and becomes
    the beginning of its tags' names.

    Raises:
        RecordError: TensorBoard is not installed, or there is no scalar.
    """
    root = folder if folder.is_dir() else folder.parent
    files = sorted(folder.rglob(PATTERN))[:MAX_FILES] if folder.is_dir() else [folder]
    log = Log("TensorBoard events")
    for file in files:
        prefix = file.parent.relative_to(root).as_posix().strip(".")
        _read_file(log, file, f"{prefix}/" if prefix else "")
    if not log.columns:
        raise RecordError(f"there is no scalar in the {len(files)} event files of {folder}")
    log.params.update(read_yaml(root / "hparams.yaml"))
    return log


def _read_file(log: Log, path: Path, prefix: str) -> None:
    event_type, decode_error = _protocol()
    event = event_type()
    for data in _frames(log, path):
        try:
            event.ParseFromString(data)
        except decode_error:
            log.note(f"{path.name} is damaged; it was read up to there")
            return
        for value in event.summary.value:
            number = _scalar(value)
            if number is not None:
                log.add(f"{prefix}{value.tag}"[:300], number, step=event.step)


def _protocol() -> tuple[Any, type[Exception]]:
    try:
        from google.protobuf.message import DecodeError
        from tensorboard.compat.proto.event_pb2 import Event
    except ImportError as error:
        raise RecordError(
            "reading TensorBoard events needs TensorBoard: pip install 'lightning-diag[readers]'"
        ) from error
    return Event, DecodeError


def _frames(log: Log, path: Path) -> Iterator[bytes]:
    try:
        left = path.stat().st_size
        with path.open("rb") as file:
            while left >= 16:
                (length,) = struct.unpack("<Q", file.read(12)[:8])
                left -= 16 + length
                if left < 0:
                    log.note(f"{path.name} ends inside a record, as a killed run leaves it")
                    return
                yield file.read(length)
                file.read(4)
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror or error}") from error


def _scalar(value: Any) -> float | None:
    """The number of a summary value: the old field, or a tensor with one element; None for everything else."""
    if value.WhichOneof("value") == "simple_value":
        return float(value.simple_value)
    if value.WhichOneof("value") != "tensor" or value.metadata.plugin_data.plugin_name not in {"scalars", ""}:
        return None
    tensor = value.tensor
    for numbers in (tensor.float_val, tensor.double_val, tensor.int_val, tensor.int64_val):
        if len(numbers) == 1:
            return float(numbers[0])
    formats = {1: "<f", 2: "<d", 3: "<i", 9: "<q"}  # TensorFlow's DT_FLOAT, DT_DOUBLE, DT_INT32, DT_INT64
    code = formats.get(tensor.dtype)
    if code and len(tensor.tensor_content) == struct.calcsize(code):
        return float(struct.unpack(code, tensor.tensor_content)[0])
    return None
