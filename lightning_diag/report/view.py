"""What every section asks of a run, worked out once: which metric counts, where it was best, how a count is shown."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from lightning_diag.findings import Diagnosis
from lightning_diag.history import ClassRow, Count, EpochRecord, RunHistory, StageRecord
from lightning_diag.report import numbers
from lightning_diag.report.escape import Name, name
from lightning_diag.rules.broken_losses import diverged_from
from lightning_diag.rules.reading import counts
from lightning_diag.statistics import Interval, wilson
from lightning_diag.words import title

FRACTIONS = (
    "acc",
    "train_acc",
    "blank_share",
    "balanced_acc",
    "macro_f1",
    "ter",
    "top5_acc",
    "recall",
    "precision",
    "f1",
    "wer",
    "cer",
)
"""Last parts of signal names whose values are fractions, shown as percent."""


def is_fraction(signal: str) -> bool:
    """Whether a signal is shown in percent."""
    return signal.rsplit("/", 1)[-1] in FRACTIONS


def shown(signal: str, value: float | None, n: int | None = None) -> str:
    """A value of ``signal``: percent for rates, three digits otherwise."""
    if value is None or not is_fraction(signal):
        return numbers.significant(value)
    return numbers.percent(value, n)


def interval(count: Count) -> Interval:
    """Wilson's interval, whose end is exactly 0 or 1 where all or none were right."""
    found = wilson(count)
    return Interval(0.0 if count.k == 0 else found.low, 1.0 if count.k == count.n else found.high)


def with_interval(count: Count | None) -> str:
    """``21/29 = 72 % [54, 85]``."""
    if count is None or count.n == 0:
        return numbers.MISSING
    found = interval(count)
    return f"{numbers.count(count)} {numbers.brackets(found.low, found.high, count.n)}"


def interval_text(count: Count | None) -> str:
    """``54–85 %``."""
    if count is None or count.n == 0:
        return numbers.MISSING
    found = interval(count)
    return numbers.bounds(found.low, found.high, count.n)


NUMBERS_TO = 14
"""Classes up to which a drawn confusion matrix has its counts written into it."""
LARGEST = 1e30
"""Values beyond it are not drawn: a loss there has diverged, and the arithmetic of an axis overflows on 1e308."""


@dataclass(frozen=True)
class Points:
    """A curve: places on the axis of epochs and finite values, of equal length."""

    x: tuple[float, ...]
    y: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.y)


def _points(rows: Sequence[tuple[float, float]]) -> Points:
    return Points(tuple(x for x, _ in rows), tuple(y for _, y in rows))


@dataclass(frozen=True, kw_only=True)
class View:
    """A run and its diagnosis as the sections read them; ``figures`` maps the names of drawn figures to their links."""

    history: RunHistory
    diagnosis: Diagnosis
    figures: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def metric(self) -> tuple[str, str]:
        """(signal, mode) by which *best* is judged; ``("", "max")`` when nothing was measured."""
        return self.history.monitored() or ("", "max")

    def title(self, signal: str) -> str:
        """The signal in the words of this run's task."""
        return title(signal, self.history.context.task)

    @cached_property
    def best(self) -> EpochRecord | None:
        """The record with the best monitored value."""
        return self.history.best_record()

    @cached_property
    def evaluated(self) -> tuple[EpochRecord, ...]:
        """The records that measured the monitored signal."""
        return tuple(r for r in self.history.epochs if self.metric[0] in r.values)

    @cached_property
    def final(self) -> EpochRecord | None:
        """The last record that measured the monitored signal."""
        return self.evaluated[-1] if self.evaluated else None

    @cached_property
    def diverged(self) -> int | None:
        """The epoch from which the weights are lost, as the finding dates it."""
        return diverged_from(self.history, int(self.diagnosis.thresholds.get("LD101", {}).get("steps", 0)))

    @cached_property
    def would_stop(self) -> int | None:
        """The epoch after which the adaptive criterion would have stopped; None where that is the last one, which saves nothing."""
        epoch, records = self.history.context.stop.would_stop_epoch, self.history.epochs
        said = any(event.kind == "would_stop" and self.saves(r) for r in records for event in r.events)
        return epoch if epoch is not None and (said or any(r.epoch > epoch for r in records)) else None

    def saves(self, record: EpochRecord) -> bool:
        """Whether a stop after ``record`` saves anything: another evaluation follows it."""
        return record is not self.history.epochs[-1]

    @cached_property
    def repeats(self) -> bool:
        """Whether an epoch was evaluated more than once, so that rows need the step to be told apart."""
        return len({r.epoch for r in self.history.epochs}) < len(self.history.epochs)

    @cached_property
    def positions(self) -> dict[int, float]:
        """``id`` of a record to its place on the axis of epochs; several evaluations of one epoch share its length."""
        times = Counter(r.epoch for r in self.history.epochs)
        seen: Counter[int] = Counter()
        places = {}
        for record in self.history.epochs:
            seen[record.epoch] += 1
            places[id(record)] = record.epoch - 1 + seen[record.epoch] / times[record.epoch]
        return places

    def points(self, signal: str) -> Points:
        """The finite values of a signal that can be drawn, with their places on the axis of epochs."""
        if signal not in self._points:
            rows = self._rows(signal)
            self._points[signal] = _points([row for row in rows if abs(row[1]) < LARGEST])
        return self._points[signal]

    def stretches(self, signal: str) -> tuple[Points, ...]:
        """The same, apart where a value between them was not finite: no line goes through what was not a number."""
        drawn = itertools.groupby(self._rows(signal), lambda row: abs(row[1]) < LARGEST)
        return tuple(_points(list(rows)) for finite, rows in drawn if finite)

    def _rows(self, signal: str) -> list[tuple[float, float]]:
        return [(self.positions[id(r)], r.values[signal]) for r in self.history.epochs if signal in r.values]

    @cached_property
    def _points(self) -> dict[str, Points]:
        """Points that were asked for: several parts of a figure ask for the same ones."""
        return {}

    def count(self, record: EpochRecord | None, signal: str = "") -> Count | None:
        """The count behind an accuracy (``val/acc`` unless asked otherwise), where it was recorded as one."""
        signal = signal or self.metric[0]
        stage, _, metric = signal.partition("/")
        if record is None or metric != "acc" or stage not in record.stages:
            return None
        return record.stages[stage].correct

    @cached_property
    def probe(self) -> Mapping[int, Count]:
        """Epoch -> training accuracy in eval mode as a count: it is measured on a few batches."""
        return dict(counts(self.history, "probe"))

    @cached_property
    def training_lines(self) -> str:
        """``8 of the 200 training lines`` where CTC training was read from a sample; empty where it was not."""
        count = next((s.correct for _, s in reversed(self.history.stage("train")) if s.correct), None)
        size = self.history.context.data.train.size
        if self.history.context.task != "ctc" or count is None or (size is not None and count.n >= size):
            return ""
        return f"{count.n:,} of the {size:,} training lines" if size else f"{count.n:,} training lines"

    def last_classes(self, stage: str) -> tuple[int | None, StageRecord | None]:
        """(epoch, record) of the last evaluation that kept a row per class."""
        return next(((e, s) for e, s in reversed(self.history.stage(stage)) if s.classes), (None, None))

    def classes_at(self, epoch: int, stage: str) -> dict[int, ClassRow]:
        """Class rows by index of one epoch; empty where they were not kept."""
        record = self.history.record(epoch)
        rows = record.stages[stage].classes if record is not None and stage in record.stages else ()
        return {row.index: row for row in rows}

    @cached_property
    def _shared_labels(self) -> frozenset[str]:
        """Labels that more than one class has (equal names, or names equal after shortening)."""
        labels = Counter(name(text) for text in self.history.context.class_names)
        return frozenset(label for label, times in labels.items() if times > 1)

    def label(self, index: int) -> Name:
        """The class as the report calls it; its number is added where the name alone would be ambiguous."""
        label = name(self.history.class_name(index))
        return Name(f"{label} ({index})") if label in self._shared_labels else label

    def epoch_label(self, record: EpochRecord) -> str:
        """``41``, or ``41 (step 1200)`` where an epoch was evaluated more than once."""
        return f"{record.epoch} (step {record.step})" if self.repeats and record.step is not None else str(record.epoch)
