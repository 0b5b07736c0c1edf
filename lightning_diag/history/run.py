"""The whole run: what is known about it, and its epochs."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from lightning_diag.history.context import Baseline, RunContext
from lightning_diag.history.counts import Count
from lightning_diag.history.epochs import EpochRecord, StageRecord

USUAL = (("val/acc", "max"), ("ctc/val/ter", "min"), ("val/loss", "min"))
"""(signal, mode) by which a run is judged where the user names none, the leading one first."""


def usual_series(names: Container[str]) -> tuple[tuple[str, str], ...]:
    """Those of :data:`USUAL` that are among ``names``."""
    return tuple(pair for pair in USUAL if pair[0] in names)


@dataclass(frozen=True)
class Series:
    """One scalar over the epochs in which it was measured; same length, epochs ascending."""

    name: str
    epochs: tuple[int, ...]
    values: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[tuple[int, float]]:
        return iter(zip(self.epochs, self.values, strict=True))

    @cached_property
    def finite(self) -> Series:
        """The series without NaN and infinite values."""
        kept = [(e, v) for e, v in self if math.isfinite(v)]
        return Series(self.name, tuple(e for e, _ in kept), tuple(v for _, v in kept))

    def best(self, mode: str = "min") -> tuple[int, float] | None:
        """(epoch, value) of the best finite value, the earliest of equals; None when there is none."""
        kept = self.finite
        if not kept.values:
            return None
        best = min(kept.values) if mode == "min" else max(kept.values)
        return kept.epochs[kept.values.index(best)], best


@dataclass(frozen=True, kw_only=True)
class RunHistory:
    """A whole run: context and epochs, immutable."""

    context: RunContext = field(default_factory=RunContext)
    epochs: tuple[EpochRecord, ...] = ()

    def series(self, name: str) -> Series:
        """The scalar ``name`` over the epochs that measured it (empty when never measured)."""
        found = self._read.get(name)
        if found is None:
            rows = [(r.epoch, r.values[name]) for r in self.epochs if name in r.values]
            found = self._read[name] = Series(name, tuple(e for e, _ in rows), tuple(v for _, v in rows))
        return found

    @cached_property
    def _read(self) -> dict[str, Series]:
        """Series that were asked for: fifty rules ask for the same ones, and a long run has ten thousand epochs."""
        return {}

    @cached_property
    def _evaluated(self) -> dict[str, tuple[tuple[int, StageRecord], ...]]:
        return {}

    def stage(self, stage: str) -> tuple[tuple[int, StageRecord], ...]:
        """(epoch, record) of every epoch that evaluated ``stage``."""
        found = self._evaluated.get(stage)
        if found is None:
            rows = tuple((r.epoch, r.stages[stage]) for r in self.epochs if stage in r.stages)
            found = self._evaluated[stage] = rows
        return found

    def last_stage(self, stage: str) -> StageRecord | None:
        """The last evaluation of ``stage``."""
        rows = self.stage(stage)
        return rows[-1][1] if rows else None

    def counts(self, stage: str) -> tuple[tuple[int, Count], ...]:
        """(epoch, accuracy as a count) of every evaluation of ``stage`` that has one."""
        found = self._counted.get(stage)
        if found is None:
            rows = ((epoch, record.correct) for epoch, record in self.stage(stage))
            found = self._counted[stage] = tuple((epoch, count) for epoch, count in rows if count and count.n)
        return found

    def best_count(self, stage: str) -> tuple[int, Count] | None:
        """(epoch, accuracy) of the best evaluation of ``stage``, the earliest of equals."""
        if stage not in self._best:
            self._best[stage] = max(self.counts(stage), key=lambda pair: (pair[1].rate, -pair[0]), default=None)
        return self._best[stage]

    @cached_property
    def _best(self) -> dict[str, tuple[int, Count] | None]:
        return {}

    @cached_property
    def _counted(self) -> dict[str, tuple[tuple[int, Count], ...]]:
        return {}

    def signals(self) -> tuple[str, ...]:
        """Names of all scalars that were measured at least once, in order of first appearance."""
        return self._names

    @cached_property
    def _names(self) -> tuple[str, ...]:
        seen: dict[str, None] = {}
        for record in self.epochs:
            seen.update(dict.fromkeys(record.values))
        return tuple(seen)

    def record(self, epoch: int) -> EpochRecord | None:
        """The record of ``epoch`` (the last one, if it was evaluated several times)."""
        return self._by_epoch.get(epoch)

    @cached_property
    def _by_epoch(self) -> dict[int, EpochRecord]:
        return {record.epoch: record for record in self.epochs}

    def monitored(self) -> tuple[str, str] | None:
        """(signal, mode) by which *best* is judged: the user's monitor, else accuracy, else TER, else loss."""
        present = set(self.signals())
        if self.context.monitor in present:
            return str(self.context.monitor), self.context.monitor_mode
        return next(iter(usual_series(present)), None)

    def watched(self) -> tuple[tuple[str, str], ...]:
        """(signal, mode) of the series that a stop is decided on, the leading one first; empty where there is none.

        Those that the run was watched by; else the user's monitor, else the usual series of the first evaluation.
        """
        asked = self.context.stopping
        if asked is not None and asked.series:
            return asked.series
        if self.context.monitor in self.signals():
            return ((str(self.context.monitor), self.context.monitor_mode),)
        return next((found for record in self.epochs if (found := usual_series(record.values))), ())

    def best_record(self, since: int | None = None) -> EpochRecord | None:
        """The record with the best monitored value (earliest of equals).

        Args:
            since: look at this epoch and later ones only.
        """
        monitored = self.monitored()
        if monitored is None:
            return None
        name, sign = monitored[0], 1.0 if monitored[1] == "min" else -1.0
        rows = (
            r
            for r in self.epochs
            if math.isfinite(r.values.get(name, math.nan)) and (since is None or r.epoch >= since)
        )
        return min(rows, key=lambda r: sign * r.values[name], default=None)

    def unrecorded_baseline(self) -> Baseline | None:
        """The baseline where it lies before the first record; None where it is one of the records."""
        baseline = self.context.baseline
        recorded = baseline is not None and baseline.epoch is not None and self.record(baseline.epoch) is not None
        return None if recorded else baseline

    @property
    def foreign(self) -> bool:
        """Whether the record comes from the log of another tool, which holds scalars only."""
        return self.context.source != "live"

    def class_name(self, index: int) -> str:
        """Name of class ``index``, or ``class <index>`` (``token <index>`` for CTC)."""
        names = self.context.class_names
        kind = "token" if self.context.task == "ctc" else "class"
        return names[index] if 0 <= index < len(names) else f"{kind} {index}"
