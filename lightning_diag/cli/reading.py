"""From the arguments of a command to a history and its judgement."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import TypeVar

from lightning_diag.errors import ConfigError
from lightning_diag.history import Count, RunHistory
from lightning_diag.output import cannot_write
from lightning_diag.readers import Place, ReadReport, Told, beside_record, find_log, read_place

T = TypeVar("T")
SLOW = 50 * 1024 * 1024
"""Bytes that take longer than a second to read."""
_RUN_FOLDERS = frozenset({"own", "lightning", "yolo"})


def told(options: argparse.Namespace) -> Told:
    """What the user said about the log.

    Raises:
        ConfigError: a mapping is not ``SIGNAL=COLUMN``, or a baseline not ``K/N``.
    """
    mapping = dict(_pair(text, "--map", "val_acc=top1") for text in options.map)
    return Told(
        mapping=mapping or None,
        n_val=options.n_val,
        n_train=options.n_train,
        classes=options.classes,
        target=options.target,
        baseline=_baseline(options.baseline) if options.baseline else None,
    )


def _baseline(text: str) -> Count | float:
    """``21/29`` as a count, everything else as a value."""
    first, slash, second = text.partition("/")
    try:
        return Count(k=int(first), n=int(second)) if slash else float(first)
    except ValueError as error:
        raise ConfigError(f"--baseline {text}: expected correct/samples such as 21/29, or a value") from error


def read(options: argparse.Namespace) -> tuple[RunHistory, ReadReport, Place]:
    """Read the one run that a command names.

    Raises:
        DiagError: see :func:`lightning_diag.readers.read_run`.
    """
    place = find_log(options.path)
    size = place.path.stat().st_size if place.path.is_file() else 0
    if size > SLOW and sys.stderr.isatty():
        print(f"reading {place} ({size >> 20} MiB)", file=sys.stderr, flush=True)  # noqa: T201  (a command line prints)
    history, report = read_place(place, told(options), options.path)
    return history, report, place


def folder_of(place: Place) -> Path:
    """Where the report of a log goes: the run's folder, or one beside a file that is not alone in its folder."""
    if place.path.is_dir():
        return place.path
    alone = place.kind in _RUN_FOLDERS or place.path.name == "trainer_state.json"
    if alone and (place.kind == "own" or not beside_record(place)):
        return place.path.parent
    name = f"{place.path.stem}-{place.run[:8]}" if place.run else place.path.stem
    return place.path.parent / f"{name}-diagnosis"


def writable(folder: Path) -> Path:
    """The folder, made where it does not exist; asked before the work, not after it.

    Raises:
        ConfigError: nothing can be written there.
    """
    why = "this is a file" if folder.is_file() else cannot_write(folder)
    if why:
        raise ConfigError(f"the report cannot be written to {folder}: {why}. Give another folder: --out DIR")
    return folder


def thresholds(texts: Sequence[str], config: Path | None) -> dict[str, dict[str, object]]:
    """Thresholds of rules: those of a YAML file, then ``CODE.FIELD=VALUE`` over them.

    Raises:
        ConfigError: one is not written so; whether the rule and the field exist is for the engine to say.
    """
    result: dict[str, dict[str, object]] = _from_yaml(config) if config else {}
    for text in texts:
        name, value = _pair(text, "--set", "LD201.rise=0.3")
        code, dot, field = name.partition(".")
        if not dot:
            raise ConfigError(f"--set {text}: expected CODE.FIELD=VALUE, for example LD201.rise=0.3")
        result.setdefault(code, {})[field] = _number(value, text)
    return result


def _from_yaml(path: Path) -> dict[str, dict[str, object]]:
    import yaml

    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--config {path}: {error.strerror or error}") from error
    except (ValueError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"--config {path}: this is no YAML{where}: {what}") from error
    example = "expected codes with fields below them, for example LD201: {rise: 0.3}"
    if not isinstance(tree, Mapping):
        raise ConfigError(f"--config {path} holds {'nothing' if tree is None else repr(tree)[:60]}: {example}")
    for code, fields in tree.items():
        if not isinstance(fields, Mapping):
            raise ConfigError(f"--config {path}: {code} is {repr(fields)[:60]}: {example}")
    return {str(code): {str(k): _value(v) for k, v in fields.items()} for code, fields in tree.items()}


def _value(value: object) -> object:
    """YAML reads ``1e-3`` as text; what is no number is for the engine to refuse."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _number(value: str, text: str) -> float | int:
    try:
        return float(value) if any(c in value for c in ".eEni") else int(value)
    except ValueError as error:
        raise ConfigError(f"--set {text}: {value!r} is not a number; for example LD201.rise=0.3") from error


def _pair(text: str, option: str, example: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise ConfigError(f"{option} {text}: expected a name, = and a value, for example {example}")
    return name, value


def progress(items: Sequence[T], label: str) -> Iterator[T]:
    """The items, with a counter on a terminal's standard error while the work takes longer than a second."""
    start = shown = monotonic()
    for i, item in enumerate(items, start=1):
        yield item
        now = monotonic()
        if sys.stderr.isatty() and now - start > 1 and (now - shown > 0.2 or i == len(items)):
            shown = now
            end = "\n" if i == len(items) else ""
            print(f"\r{label} {i}/{len(items)}", end=end, file=sys.stderr, flush=True)  # noqa: T201  (a command line prints)


def say(text: str = "") -> None:
    """Print a line."""
    print(text)  # noqa: T201  (a command line prints)


def tell(text: str) -> None:
    """Print a line for people beside an output that goes elsewhere."""
    print(text, file=sys.stderr)  # noqa: T201  (a command line prints)
