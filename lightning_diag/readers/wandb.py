"""W&B offline runs (``run-*.wandb``), parsed with W&B's own messages where it is installed."""

from __future__ import annotations

import importlib
import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning_diag.errors import RecordError
from lightning_diag.readers.log import Log
from lightning_diag.readers.params import flat

PATTERN = "run-*.wandb"
MAX_MESSAGE = 64 * 1024 * 1024
_BLOCK = 32768
_HEADER = 7
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def read_wandb(path: Path) -> Log:
    """Read the history and the configuration of one offline run.

    Raises:
        RecordError: W&B is not installed, or the file holds no history.
    """
    log = Log("W&B offline run")
    for record in _records(path, log):
        kind = record.WhichOneof("record_type")
        if kind == "history":
            _add_row(log, record.history)
        elif kind in {"config", "run"}:
            config = record.config if kind == "config" else record.run.config
            given = {item.key: _value(item.value_json) for item in config.update}
            log.params.update(flat({k: v for k, v in given.items() if k != "_wandb"}))
    if not log.columns:
        raise RecordError(f"there is no history in {path}")
    return log


def _records(path: Path, log: Log) -> Iterator[Any]:
    try:
        messages: Any = importlib.import_module("wandb.proto.wandb_internal_pb2")
        protobuf: Any = importlib.import_module("google.protobuf.message")
    except ImportError as error:
        raise RecordError("reading W&B runs needs W&B: pip install wandb") from error
    for data in _frames(path, log):
        record = messages.Record()
        try:
            record.ParseFromString(data)
        except protobuf.DecodeError:
            log.note(f"{path.name} is damaged; it was read up to there")
            return
        yield record


def _frames(path: Path, log: Log) -> Iterator[bytes]:
    """Messages of a file in LevelDB's log format: blocks of 32 KiB with whole or split records.

    Source: https://github.com/google/leveldb/blob/main/doc/log_format.md; W&B puts seven bytes before the first record.
    """
    parts: list[bytes] = []
    held = 0
    for kind, data in _fragments(path, log):
        held = len(data) if kind in {_FULL, _FIRST} else held + len(data)
        if held > MAX_MESSAGE:
            raise RecordError(f"{path}: a message is larger than {MAX_MESSAGE >> 20} MiB")
        parts = [data] if kind in {_FULL, _FIRST} else [*parts, data]
        if kind in {_FULL, _LAST}:
            yield b"".join(parts)


def _fragments(path: Path, log: Log) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            if file.read(_HEADER)[:4] != b":W&B":
                raise RecordError(f"{path} is no W&B run file")
            while header := file.read(min(_HEADER, _BLOCK - file.tell() % _BLOCK)):
                if len(header) < _HEADER:
                    continue  # the padding at the end of a block, or the end of the file
                length, kind = struct.unpack("<HB", header[4:])
                data = file.read(length)
                if len(data) < length or kind not in {_FULL, _FIRST, _MIDDLE, _LAST}:
                    log.note(f"{path.name} ends inside a record, as a killed run leaves it")
                    return
                yield kind, data
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror or error}") from error


def _add_row(log: Log, history: Any) -> None:
    row = {("/".join(item.nested_key) or item.key): _value(item.value_json) for item in history.item}
    row = {
        name: value for name, value in row.items() if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    step = row.get("trainer/global_step", row.get("_step", history.step.num))
    epoch = row.get("epoch", math.nan)
    for name, value in row.items():
        if not name.startswith("_"):
            log.add(name[:300], float(value), epoch=float(epoch), step=int(step))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
