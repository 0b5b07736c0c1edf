"""Which column feeds which signal."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from lightning_diag.errors import ConfigError
from lightning_diag.history import SIGNALS
from lightning_diag.readers.log import Log
from lightning_diag.readers.names import Meaning, axis_of, meaning_of

MAX_SHOWN = 200
"""Columns kept although no rule reads them; sweeps of histograms and system metrics have thousands."""


@dataclass
class Assignment:
    """Signals and the columns that feed them.

    Attributes:
        signals: signal -> column; per_step: signals whose column holds single steps.
        lrs: further learning-rate columns, by group.
        shown: columns kept under their own name. left_out: column -> reason.
    """

    signals: dict[str, str] = field(default_factory=dict)
    per_step: dict[str, str] = field(default_factory=dict)
    lrs: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def signal_name(text: str) -> str:
    """The signal that a user means by ``val_acc`` or ``val/acc``.

    Raises:
        ConfigError: it names no stage and is not a known signal.
    """
    name = text.strip()
    if name in SIGNALS or name.startswith("ctc/"):
        return name
    meaning = meaning_of(name)
    if meaning.run_wide:
        return meaning.quantity
    if meaning.stage and meaning.quantity:
        return f"{meaning.stage}/{meaning.quantity}"
    near = difflib.get_close_matches(name, [s.replace("/", "_", 1) for s in SIGNALS], n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise ConfigError(f"{text!r} is not the name of a signal, give for example val_acc, train_loss or lr{hint}")


def assign(log: Log, mapping: Mapping[str, str] | None = None) -> Assignment:
    """Assign columns to signals: first what the user said, then what the names say.

    Args:
        log: the log as read.
        mapping: signal -> column, as given by the user; wins over names.

    Raises:
        ConfigError: ``mapping`` names an unknown signal or a column that the log does not have.
    """
    result = Assignment(left_out=dict(log.skipped), notes=list(log.notes))
    given = {signal_name(signal): _column(log, column) for signal, column in (mapping or {}).items()}
    result.signals.update(given)
    meanings = _meanings(log, set(given.values()), result)
    for column, meaning in sorted(meanings.items(), key=lambda item: item[1].rank):  # a stable sort: log order
        _place(column, meaning, result)
    _merge_steps(result)
    return result


def _column(log: Log, name: str) -> str:
    if name in log.columns:
        return name
    near = difflib.get_close_matches(name, log.columns, n=3)
    there = ", ".join(near or list(log.columns)[:8]) or "none"
    reason = f" ({log.skipped[name]})" if name in log.skipped else ""
    raise ConfigError(f"the log has no column {name!r}{reason}; it has for example {there}")


def _meanings(log: Log, taken: set[str], result: Assignment) -> dict[str, Meaning]:
    """Meanings of the columns, with the stage of those that do not name one."""
    names = [c for c in log.columns if c not in taken and _measures(c, result)]
    meanings = {name: meaning_of(name) for name in names}
    stages = {signal.partition("/")[0] for signal in result.signals}
    known = [m for m in meanings.values() if m.known and not m.run_wide]
    _test_as_validation(log, meanings, known, stages, result)
    staged = {(m.stage, m.quantity) for m in meanings.values() if m.known}
    any_stage = bool(stages) or any(m.stage for m in known)
    for name, meaning in meanings.items():
        if meaning.known and not meaning.run_wide and meaning.stage is None:
            meanings[name] = replace(meaning, stage=_bare_stage(name, meaning, staged, any_stage), known=True)
    return meanings


def _measures(column: str, result: Assignment) -> bool:
    if axis_of(column):
        result.left_out[column] = "counts, does not measure"
    elif column == "hp_metric":
        result.left_out[column] = "Lightning's placeholder for hyper-parameters"
    return column not in result.left_out


def _test_as_validation(
    log: Log, meanings: dict[str, Meaning], known: Iterable[Meaning], stages: set[str], result: Assignment
) -> None:
    """Many scripts call the set that they evaluate each epoch the test set."""
    if "val" in stages or any((m.stage or "").startswith("val") for m in known):
        return
    columns = [name for name, m in meanings.items() if m.known and m.stage == "test" and len(log.columns[name]) > 1]
    for name in columns:
        meanings[name] = replace(meanings[name], stage="val")
    if columns:
        result.notes.append(f"{', '.join(columns[:3])} is taken as validation: the log has no other evaluation")


def _bare_stage(name: str, meaning: Meaning, staged: set[tuple[str | None, str]], any_stage: bool) -> str | None:
    """The stage of a column without one: Keras leaves out ``train``, YOLO writes ``metrics/`` for validation."""
    if name.startswith("metrics/"):
        return "val"
    taken = ("train", meaning.quantity) in staged
    keras = ("val", meaning.quantity) in staged or not any_stage or meaning.quantity == "loss"
    return "train" if keras and not taken else None


def _place(column: str, meaning: Meaning, result: Assignment) -> None:
    signal = meaning.quantity if meaning.run_wide else f"{meaning.stage}/{meaning.quantity}"
    placeable = meaning.known and (meaning.run_wide or meaning.stage is not None)
    table = result.per_step if meaning.per_step else result.signals
    if placeable and signal not in table:
        table[signal] = column
    elif signal == "lr":
        result.lrs.append(column)
    elif len(result.shown) < MAX_SHOWN:
        result.shown.append(column)
        if placeable:
            result.notes.append(f"{column} could be {signal} too; {table[signal]} was taken")
        elif meaning.known:
            result.notes.append(
                f"{column} does not say which stage it is: --map val_{meaning.quantity}={column} if it is validation"
            )
    else:
        result.left_out[column] = f"more than {MAX_SHOWN} columns that no rule reads"


def _merge_steps(result: Assignment) -> None:
    """A signal that is logged per step only is averaged over the epoch."""
    for signal, column in result.per_step.items():
        result.signals.setdefault(signal, column)
