"""Logs of other tools, read into a RunHistory.

:func:`read_run` finds out what lies at a path, reads it and says what it understood. Reading never runs code from a file,
holds a bounded amount of memory and needs no torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from lightning_diag.errors import RecordError
from lightning_diag.history import RunHistory
from lightning_diag.readers.building import Told, build
from lightning_diag.readers.finding import OWN, Place, find_log, find_logs, no_log
from lightning_diag.readers.jsonlog import read_json
from lightning_diag.readers.log import Log, ReadReport
from lightning_diag.readers.mlflow import read_mlflow
from lightning_diag.readers.mlflow_db import read_mlflow_db
from lightning_diag.readers.named import read_lightning, read_yolo
from lightning_diag.readers.own import read_own
from lightning_diag.readers.tabular import read_csv
from lightning_diag.readers.tensorboard import read_tensorboard
from lightning_diag.readers.wandb import read_wandb

READERS: Mapping[str, Callable[[Place], Log]] = {
    "lightning": lambda place: read_lightning(place.path),
    "yolo": lambda place: read_yolo(place.path),
    "csv": lambda place: read_csv(place.path, "CSV"),
    "json": lambda place: read_json(place.path),
    "tensorboard": lambda place: read_tensorboard(place.path),
    "mlflow": lambda place: read_mlflow(place.path),
    "mlflow-db": lambda place: read_mlflow_db(place.path, place.run),
    "wandb": lambda place: read_wandb(place.path),
}
"""Format -> reader of a foreign log; our own record needs none of this."""


def read_run(
    path: str | os.PathLike[str],
    mapping: Mapping[str, str] | None = None,
    n_val: int | None = None,
    classes: int | None = None,
    *,
    n_train: int | None = None,
) -> tuple[RunHistory, ReadReport]:
    """Read the run at ``path``, whatever tool wrote it.

    Args:
        path: a log file, a run folder, or a folder of runs (the newest is taken).
        mapping: signal -> column where names do not say it, for example ``{"val_acc": "top1"}``.
        n_val: size of the validation set; turns its accuracies into exact counts where they are k of n to the printed
            digits.
        classes: number of classes.
        n_train: size of the training set.

    Returns:
        the history, and what was understood of the log.

    Raises:
        RecordError: there is no log, or it cannot be understood.
        ConfigError: ``mapping`` names a column or a signal that does not exist.
    """
    place = Path(path)
    return read_place(find_log(place), Told(mapping=mapping, n_val=n_val, n_train=n_train, classes=classes), place)


def read_place(place: Place, told: Told, asked: Path | None = None) -> tuple[RunHistory, ReadReport]:
    """Read one found log; ``asked`` is the path that the user gave, where it holds several.

    Raises:
        RecordError: it cannot be understood.
        ConfigError: ``told`` does not fit it.
    """
    which = None if asked is None else _which(asked, place)
    if place.kind == "own":
        return read_own(place.path, told, which)
    try:
        log = READERS[place.kind](place)
    except RecordError as error:
        message = str(error)
        raise RecordError(message if str(place.path) in message else f"{place.path}: {message}") from error
    if which:
        log.note(which)
    if beside_record(place):
        log.note(
            f"{place.path.parent} also holds the record of lightning_diag, which knows more: give the folder to read it"
        )
    return build(log, str(place), told)


def beside_record(place: Place) -> bool:
    """Whether this is the log of another tool in the folder of a run that left its own record and report there."""
    return place.kind != "own" and place.path.is_file() and (place.path.parent / OWN).is_file()


def _which(asked: Path, place: Place) -> str | None:
    """Which of several runs at ``asked`` was read, and how to read another; None where there is one only."""
    others = [other for other in find_logs(asked) if other != place]
    if not others:
        return None
    text = f"{asked} holds {len(others) + 1} runs; this is the newest one"
    elsewhere = next((other.path for other in others if other.path != place.path), None)
    return f"{text}. Give the path of another one to read that: {elsewhere}" if elsewhere else text


__all__ = [
    "READERS",
    "Place",
    "ReadReport",
    "Told",
    "beside_record",
    "find_log",
    "find_logs",
    "no_log",
    "read_place",
    "read_run",
]
