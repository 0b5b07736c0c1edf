"""The builder of a RunHistory: the only mutable object of the judgement side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from lightning_diag.history import EpochRecord, Event, RunContext, RunHistory, StageRecord
from lightning_diag.thinning import CLASS_ROWS, SLACK, held, recorded, thin


class Recorder:
    """Collects the values of the running interval and closes it into an :class:`EpochRecord`.

    Args:
        epochs: records of an earlier part of the run (a resume); they come first.
        context: what is known before the first epoch.
        class_rows: class rows kept in full; beyond that see :mod:`lightning_diag.thinning`.
    """

    def __init__(
        self, epochs: Iterable[EpochRecord] = (), context: RunContext | None = None, class_rows: int = CLASS_ROWS
    ) -> None:
        self.context = context or RunContext()
        self.class_rows = class_rows
        self._epochs = list(epochs)
        self._values: dict[str, float] = {}
        self._stages: dict[str, StageRecord] = {}
        self._events: list[Event] = []
        self._recorded, self._held = sum(map(recorded, self._epochs)), self._holds()

    def update(self, **changes: Any) -> None:
        """Replace fields of the context."""
        self.context = replace(self.context, **changes)

    def note(self, text: str) -> None:
        """Add a sentence of the observer about itself, once."""
        if text not in self.context.notes:
            self.update(notes=(*self.context.notes, text))

    def values(self, measured: Mapping[str, float]) -> None:
        """Add scalars measured in the running interval."""
        self._values.update(measured)

    def stage(self, name: str, record: StageRecord) -> None:
        """Add the counts of one evaluation of stage ``name``."""
        self._stages[name] = record

    def event(self, kind: str, text: str = "") -> None:
        """Add an event to the running interval."""
        self._events.append(Event(kind=kind, text=text))

    @property
    def pending(self) -> bool:
        """Whether the running interval holds anything."""
        return bool(self._values or self._stages)

    @property
    def running_values(self) -> Mapping[str, float]:
        """Scalars of the running interval."""
        return self._values

    @property
    def running_stages(self) -> Mapping[str, StageRecord]:
        """Counts of the running interval."""
        return self._stages

    def close(self, epoch: int, step: int | None, lrs: tuple[float, ...] = ()) -> EpochRecord:
        """Close the running interval and return its record."""
        record = EpochRecord(
            epoch=epoch,
            step=step,
            values=dict(self._values),
            stages=dict(self._stages),
            lrs=lrs,
            events=tuple(self._events),
        )
        self.drop()
        self._epochs.append(record)
        self._recorded += recorded(record)
        self._held += recorded(record)
        if self._held > SLACK * self.class_rows:
            self._epochs = list(self.history().epochs)
            self._held = self._holds()
        return record

    def drop(self) -> None:
        """Forget the running interval (a sanity check, a torn epoch that will be run again)."""
        self._values, self._stages, self._events = {}, {}, []

    def amend(self, **changes: Any) -> EpochRecord | None:
        """Replace fields of the last record (an event that is known only later)."""
        if not self._epochs:
            return None
        self._epochs[-1] = replace(self._epochs[-1], **changes)
        return self._epochs[-1]

    def add_event(self, kind: str, text: str = "") -> None:
        """Add an event to the last closed record, else to the running interval."""
        if self._epochs:
            self.amend(events=(*self._epochs[-1].events, Event(kind=kind, text=text)))
        else:
            self.event(kind, text)

    @property
    def epochs(self) -> tuple[EpochRecord, ...]:
        """All closed records."""
        return tuple(self._epochs)

    def history(self) -> RunHistory:
        """The history so far, without the running interval."""
        history = RunHistory(context=self.context, epochs=tuple(self._epochs))
        return thin(history, self.class_rows) if self._recorded > self.class_rows else history

    def running(self, epoch: int, step: int | None) -> EpochRecord | None:
        """The running interval as a record that is not closed yet (for a checkpoint); None when it is empty."""
        if not self.pending:
            return None
        return EpochRecord(
            epoch=epoch, step=step, values=dict(self._values), stages=dict(self._stages), events=tuple(self._events)
        )

    def take_running(self, record: EpochRecord) -> None:
        """Take up an interval that a checkpoint left open."""
        self._values, self._stages = dict(record.values), dict(record.stages)
        self._events = list(record.events)

    def _holds(self) -> int:
        """What the per-class rows in memory weigh."""
        return sum(held(stage) for record in self._epochs for stage in record.stages.values())
