"""What every reader hands over: columns of points, and the report on what was understood."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field

from lightning_diag.errors import RecordError

MAX_POINTS = 5_000_000
"""Numbers read from one log (24 bytes each); a log with more is refused instead of filling the memory."""
MAX_COLUMNS = 5_000
FULL_PRECISION = 17
"""Decimals of a number that was stored in binary."""


@dataclass
class Column:
    """One scalar of a log, in the order in which it was written.

    Attributes:
        epochs: epoch of each point, NaN where the log does not say; steps: step of each point, -1 where unknown.
        decimals: most digits after the point that a value was printed with.
    """

    name: str
    epochs: array[float] = field(default_factory=lambda: array("d"))
    steps: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    decimals: int = 0

    def __len__(self) -> int:
        return len(self.values)


@dataclass
class Log:
    """A foreign log as it was found: columns by name, and what else stood in it.

    Attributes:
        kind: name of the format, for people. params: hyper-parameters as text.
        skipped: column -> why it was not read. monitor: column that the tool itself calls best, and its mode.
    """

    kind: str
    columns: dict[str, Column] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    monitor: tuple[str, str] | None = None
    points: int = 0

    def add(
        self, name: str, value: float, *, epoch: float = math.nan, step: int = -1, decimals: int = FULL_PRECISION
    ) -> None:
        """Add one point.

        Raises:
            RecordError: the log is larger than any log of a training.
        """
        self.points += 1
        if self.points > MAX_POINTS:
            raise RecordError(f"the log has more than {MAX_POINTS:,} numbers; log per epoch instead of per step")
        column = self.columns.get(name)
        if column is None:
            if len(self.columns) >= MAX_COLUMNS:
                raise RecordError(f"the log has more than {MAX_COLUMNS:,} columns")
            column = self.columns[name] = Column(name)
        column.epochs.append(epoch)
        column.steps.append(step if -1 <= step < 2**62 else -1)
        column.values.append(value)
        column.decimals = max(column.decimals, decimals)

    def note(self, text: str) -> None:
        """Say something about the log once."""
        if text not in self.notes:
            self.notes.append(text)


@dataclass(frozen=True, kw_only=True)
class ReadReport:
    """What was understood of a log, and what was not.

    Attributes:
        kind: name of the format; path: file or folder that was read.
        understood: column -> signal that rules read.
        shown: columns that are kept as they are, and that no rule reads.
        left_out: column -> why it was left out.
        notes: what was assumed, one sentence each.
    """

    kind: str
    path: str
    understood: Mapping[str, str] = field(default_factory=dict)
    shown: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def head(self) -> list[str]:
        """What was read and what was assumed, without the columns."""
        return [f"read {self.path} ({self.kind})", *(f"  note: {note}" for note in self.notes)]

    def lines(self) -> list[str]:
        """The report as plain lines."""
        head, *notes = self.head()
        lines = [head]
        lines += [f"  {column} -> {signal}" for column, signal in self.understood.items()]
        if self.shown:
            lines.append(f"  shown only, no rule reads them: {_some(self.shown)}")
        for reason in dict.fromkeys(self.left_out.values()):
            names = tuple(column for column, why in self.left_out.items() if why == reason)
            lines.append(f"  left out ({reason}): {_some(names)}")
        return lines + notes


def _some(names: tuple[str, ...], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
