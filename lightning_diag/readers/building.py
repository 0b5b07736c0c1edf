"""A foreign log to a RunHistory: signals, epochs, fractions, counts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from lightning_diag.errors import check_target
from lightning_diag.history import (
    Baseline,
    Count,
    DataFacts,
    EpochRecord,
    RunContext,
    RunHistory,
    SplitFacts,
    StageRecord,
    Target,
)
from lightning_diag.readers.assign import Assignment, assign
from lightning_diag.readers.counting import FLOAT32, ambiguous, count_of, fitting_size, resolution
from lightning_diag.readers.folding import EpochClock, Intervals, discard_repeated, intervals_of
from lightning_diag.readers.log import Column, Log, ReadReport
from lightning_diag.readers.names import mode_of
from lightning_diag.readers.params import optim_facts

_RATES = ("acc", "balanced_acc", "macro_f1")
_MEAN = ("loss", "acc")  # of the training steps of an epoch; everything else keeps its last value


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the user said about a log.

    Attributes:
        mapping: signal -> column.
        n_val, n_train: sizes of the splits. classes: number of classes.
        target: value of the monitored signal that the run should reach.
        baseline: where the run started from: correct of samples, or a value of the monitored signal.
    """

    mapping: Mapping[str, str] | None = None
    n_val: int | None = None
    n_train: int | None = None
    classes: int | None = None
    target: float | None = None
    baseline: Count | float | None = None

    def completed(self, history: RunHistory) -> RunHistory:
        """The history with target and baseline, where they were given."""
        signal, mode = history.monitored() or ("val/acc", "max")
        context = history.context
        if self.target is not None:
            check_target(self.target, signal)
            context = replace(context, target=Target(value=self.target, metric=signal, mode=mode))
        if self.baseline is not None:
            count = self.baseline if isinstance(self.baseline, Count) else None
            value = self.baseline if isinstance(self.baseline, float) else None
            context = replace(context, baseline=Baseline(source="given", correct=count, value=value))
        return replace(history, context=context)


def build(log: Log, path: str, told: Told) -> tuple[RunHistory, ReadReport]:
    """The history that ``log`` records, and what was understood of it."""
    assigned = assign(log, told.mapping)
    used = [*assigned.signals.values(), *assigned.per_step.values()]
    again = discard_repeated(log, [name for name in used if not name.startswith("test")])
    scales = _scales(log, assigned)
    clock = EpochClock(log)
    evaluated = [log.columns[c] for s, c in assigned.signals.items() if s.startswith(("val", "ctc/val"))]
    places = intervals_of(clock, evaluated, [log.columns[c] for c in [*used, *assigned.shown]])
    assigned.notes += [note for note in (again, places.note) if note]
    values = _values(log, assigned, clock, places, scales)
    offs = {s: resolution(log.columns[c], scales.get(c, 1.0)) for s, c in assigned.signals.items() if s in _COUNTED}
    stages = [_stages(v, told, offs) for v in values]
    _drop_coincidences(values, stages)
    lrs = _groups(log, assigned, clock, places)
    records = tuple(map(_record, places.keys, [places.numbered] * len(values), values, stages, lrs))
    _note_counts(values, stages, assigned, told, offs)
    _hint_size(values, assigned, told, offs.get("val/acc"))
    history = RunHistory(context=_context(log, path, told, assigned), epochs=records)
    return told.completed(history), _report(log, path, assigned)


def _record(
    key: tuple[int, int],
    numbered: bool,
    values: Mapping[str, float],
    stages: Mapping[str, StageRecord],
    lrs: tuple[float, ...],
) -> EpochRecord:
    step = None if numbered or key[1] < 0 else key[1]
    return EpochRecord(epoch=key[0], step=step, values=values, stages=stages, lrs=lrs)


# ---------------------------------------------------------------- values


def _values(
    log: Log, assigned: Assignment, clock: EpochClock, places: Intervals, scales: Mapping[str, float]
) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = [{} for _ in places.keys]
    named = [*assigned.signals.items(), *((column, column) for column in assigned.shown)]
    for signal, name in named:
        scale = scales.get(name, 1.0)
        averaged = signal.startswith("train/") and signal.removeprefix("train/") in _MEAN
        for i, points in _placed(log.columns[name], clock, places).items():
            rows[i][signal] = scale * (math.fsum(points) / len(points) if averaged and _finite(points) else points[-1])
    steps = assigned.per_step.get("train/loss") or assigned.signals.get("train/loss")
    if steps:
        _add_step_losses(rows, _placed(log.columns[steps], clock, places))
    return rows


def _finite(points: list[float]) -> bool:
    return all(map(math.isfinite, points))


def _placed(column: Column, clock: EpochClock, places: Intervals) -> dict[int, list[float]]:
    """Values of ``column`` by interval."""
    found: dict[int, list[float]] = {}
    for (epoch, step), value in zip(clock.points(column), column.values, strict=True):
        index = places.place(epoch, step)
        if index is not None:
            found.setdefault(index, []).append(value)
    return found


def _add_step_losses(rows: list[dict[str, float]], placed: Mapping[int, list[float]]) -> None:
    """Spread of the step losses, where an epoch has more than one of them."""
    for i, points in placed.items():
        finite = [p for p in points if math.isfinite(p)]
        if len(points) > 1:
            rows[i]["loss/nonfinite_steps"] = float(len(points) - len(finite))
            if finite:
                rows[i]["loss/step_min"], rows[i]["loss/step_max"] = min(finite), max(finite)


def _groups(log: Log, assigned: Assignment, clock: EpochClock, places: Intervals) -> list[tuple[float, ...]]:
    """Learning rates by parameter group at the end of each interval."""
    first = assigned.signals.get("lr")
    placed = [_placed(log.columns[name], clock, places) for name in ([first] if first else []) + assigned.lrs]
    return [tuple(p[i][-1] for p in placed if i in p) for i in range(len(places.keys))]


# ---------------------------------------------------------------- fractions and counts


def _scales(log: Log, assigned: Assignment) -> dict[str, float]:
    """Columns of percentages, and 0.01; a script that prints one accuracy in per cent prints all of them so."""
    rates = {s: c for s, c in assigned.signals.items() if s.rpartition("/")[2] in _RATES}
    most = {s: max((v for v in log.columns[c].values if math.isfinite(v)), default=0.0) for s, c in rates.items()}
    for signal in [s for s, top in most.items() if top > 100.5]:
        assigned.left_out[rates.pop(signal)] = f"read as {signal}, but goes up to {most.pop(signal):.4g}"
        del assigned.signals[signal]
    percent = {s.rpartition("/")[2] for s, top in most.items() if top > 1.0 + FLOAT32}
    columns = [c for s, c in rates.items() if s.rpartition("/")[2] in percent]
    if columns:
        assigned.notes.append(f"{', '.join(columns)} read as per cent")
    return dict.fromkeys(columns, 0.01)


_COUNTED = ("train/acc", "val/acc")
"""Signals that become counts where the size of the set is known."""


def _stages(values: Mapping[str, float], told: Told, offs: Mapping[str, float]) -> dict[str, StageRecord]:
    stages = {}
    for stage, n in (("train", told.n_train), ("val", told.n_val)):
        signal = f"{stage}/acc"
        if n and signal in offs and signal in values:
            count = count_of(values[signal], n, offs[signal])
            if count:
                stages[stage] = StageRecord(n=n, correct=count)
    return stages


def _drop_coincidences(values: list[dict[str, float]], stages: list[dict[str, StageRecord]]) -> None:
    """Take no counts where most accuracies fit none: then the size is wrong, and the few that fit do so by chance."""
    for stage in ("train", "val"):
        measured = [i for i, row in enumerate(values) if f"{stage}/acc" in row]
        counted = [i for i in measured if stage in stages[i]]
        if 2 * len(counted) < len(measured):
            for i in counted:
                del stages[i][stage]


def _note_counts(
    values: list[dict[str, float]],
    stages: list[dict[str, StageRecord]],
    assigned: Assignment,
    told: Told,
    offs: Mapping[str, float],
) -> None:
    """Make the accuracies exact where they are counts, and say where they are not."""
    for stage, n in (("train", told.n_train), ("val", told.n_val)):
        signal = f"{stage}/acc"
        measured = [i for i, row in enumerate(values) if signal in row]
        exact = [i for i in measured if stage in stages[i]]
        for i in exact:
            values[i][signal] = stages[i][stage].correct.rate  # type: ignore[union-attr]  # made with a count above
        if n and len(exact) < len(measured):
            what = f"{len(measured) - len(exact)} of {len(measured)} values of {signal}"
            assigned.notes.append(_why_no_counts(what, n, offs.get(signal, FLOAT32)))
        elif n and not measured:
            assigned.notes.append(f"n = {n} is of no use: there is no {signal}")


def _why_no_counts(what: str, n: int, off: float) -> str:
    """Why accuracies stay without a count: several counts are printed alike, or none fits."""
    if ambiguous(n, off):
        return f"{what} are printed with too few digits to say which k of {n} they are: they stay without interval"
    return (
        f"{what} are no k of {n} to the printed digits: they stay without interval "
        f"(is n = {n} right, or was a last batch dropped?)"
    )


def _hint_size(values: list[dict[str, float]], assigned: Assignment, told: Told, off: float | None) -> None:
    """Say which size the validation set seems to have, where the user did not."""
    if told.n_val or off is None:
        return
    size = fitting_size([row["val/acc"] for row in values if "val/acc" in row], off)
    if size:
        assigned.notes.append(
            f"all values of val/acc are a k of {size}: if the validation set has {size:,} samples (or a multiple), "
            f"--n-val {size} makes them counts with intervals"
        )


# ---------------------------------------------------------------- context


def _context(log: Log, path: str, told: Told, assigned: Assignment) -> RunContext:
    train, val = SplitFacts(size=told.n_train), SplitFacts(size=told.n_val)
    signals = set(assigned.signals)
    task = "multiclass" if told.classes or "val/acc" in signals or "train/acc" in signals else None
    context = RunContext(
        task=task,
        classes=told.classes,
        data=DataFacts(train=train, val=val),
        optim=optim_facts(log.params),
        hparams=log.params,
        source=f"{log.kind}: {path}",
    )
    monitor = log.monitor or _monitor(signals, assigned)
    if monitor and monitor[0] in {*signals, *assigned.shown}:
        context = replace(context, monitor=monitor[0], monitor_mode=monitor[1])
    return context


def _monitor(signals: set[str], assigned: Assignment) -> tuple[str, str] | None:
    """What *best* is judged by where a log has neither accuracy nor loss of validation but another usual measure."""
    if signals & {"val/acc", "ctc/val/ter", "val/loss"}:
        return None
    named = [*(s for s in sorted(signals) if s.startswith("val/")), *assigned.shown]
    return next(((name, mode) for name in named if (mode := mode_of(name))), None)


def _report(log: Log, path: str, assigned: Assignment) -> ReadReport:
    understood = {column: signal for signal, column in assigned.signals.items()}
    understood |= {c: f"{s} (single steps)" for s, c in assigned.per_step.items() if c not in understood}
    understood |= dict.fromkeys(assigned.lrs, "lr (further parameter groups)")
    return ReadReport(
        kind=log.kind,
        path=path,
        understood={column: understood[column] for column in log.columns if column in understood},
        shown=tuple(assigned.shown),
        left_out=assigned.left_out,
        notes=tuple(dict.fromkeys(assigned.notes)),
    )


__all__ = ["Told", "build"]
