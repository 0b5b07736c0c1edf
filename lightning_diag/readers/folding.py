"""Points to epochs: which evaluation a point of a log belongs to.

Lightning writes a row per logging call, TensorBoard a point per tag, Hugging Face fractions of an epoch. All of them are
folded in one way: an evaluation closes an interval, and what was logged since the one before belongs to it.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from lightning_diag.readers.log import Column, Log
from lightning_diag.readers.names import axis_of

MAX_WINDOWS = 200
"""Intervals into which a log without epochs and without validation is cut."""

Key = tuple[int, int]  # (epoch, step); step -1 where an epoch has one evaluation


@dataclass(frozen=True)
class Intervals:
    """The evaluations of a log, in order, and the interval of each point.

    Attributes:
        keys: (epoch, step) of each interval, ascending.
        mode: ``epoch``, or ``step`` where only steps tell intervals apart.
        numbered: True when steps are the epochs themselves, so that a record has no step of its own.
        note: what was assumed.
    """

    keys: tuple[Key, ...]
    mode: str
    numbered: bool = False
    note: str = ""

    @cached_property
    def _steps(self) -> list[int]:
        return [step for _, step in self.keys]

    def place(self, epoch: int | None, step: int) -> int | None:
        """Index of the interval of a point; None when the log does not say."""
        if self.mode == "step":
            index = bisect_left(self._steps, step)
            return min(index, len(self.keys) - 1) if self.keys else None
        if epoch is None:
            return None
        low, high = bisect_left(self.keys, (epoch, -1)), bisect_right(self.keys, (epoch, 2**62))
        if low == high:
            return None
        return min(bisect_left(self.keys, (epoch, step), low, high), high - 1) if step >= 0 else high - 1


class EpochClock:
    """Epochs of points: their own, or those that the log has for their step."""

    def __init__(self, log: Log) -> None:
        clock = next((c for name, c in log.columns.items() if axis_of(name) == "epoch"), None)
        pairs = sorted({(s, e) for s, e in zip(clock.steps, clock.values, strict=True) if s >= 0}) if clock else []
        self._steps = [step for step, _ in pairs]
        self._epochs = [epoch for _, epoch in pairs]

    def epoch(self, epoch: float, step: int) -> int | None:
        """Whole epoch of a point: 0.4 of the first epoch and its end at 1.0 are both epoch 1."""
        value = epoch if math.isfinite(epoch) else self._at(step)
        return math.ceil(value - 1e-6) if value is not None and abs(value) < 1e9 else None

    def _at(self, step: int) -> float | None:
        if not self._steps or step < 0:
            return None
        index = min(bisect_left(self._steps, step), len(self._steps) - 1)
        value = self._epochs[index]
        return value if math.isfinite(value) else None

    def points(self, column: Column) -> list[tuple[int | None, int]]:
        """(epoch, step) of every point of ``column``."""
        return [(self.epoch(e, s), s) for e, s in zip(column.epochs, column.steps, strict=True)]


def intervals_of(clock: EpochClock, evaluated: Sequence[Column], others: Iterable[Column]) -> Intervals:
    """The intervals of a log.

    Args:
        clock: epochs of the points.
        evaluated: columns of validation.
        others: the other columns in use.
    """
    at = [clock.points(column) for column in evaluated]
    everything = at + [clock.points(column) for column in others]
    if any(epoch is not None for points in everything for epoch, _ in points):
        return _by_epoch(at, everything)
    return _by_step(at, everything)


def _by_epoch(
    evaluated: list[list[tuple[int | None, int]]], everything: list[list[tuple[int | None, int]]]
) -> Intervals:
    keys: set[Key] = set()
    for points in evaluated:
        known = [(epoch, step) for epoch, step in points if epoch is not None]
        several = len({epoch for epoch, _ in known}) < len(set(known)) and all(step >= 0 for _, step in known)
        keys |= {(epoch, step if several else -1) for epoch, step in known}
    split = {epoch for epoch, step in keys if step >= 0}
    keys = {key for key in keys if key[1] >= 0 or key[0] not in split}
    seen = {epoch for epoch, _ in keys}
    keys |= {(epoch, -1) for points in everything for epoch, _ in points if epoch is not None and epoch not in seen}
    return Intervals(tuple(sorted(keys)), "epoch")


def _by_step(
    evaluated: list[list[tuple[int | None, int]]], everything: list[list[tuple[int | None, int]]]
) -> Intervals:
    steps = sorted({step for points in (evaluated or everything) for _, step in points if step >= 0})
    consecutive = bool(steps) and steps[0] in {0, 1} and steps[-1] - steps[0] == len(steps) - 1
    if consecutive and (evaluated or len(steps) <= MAX_WINDOWS):
        note = "its steps count one by one and are taken as epochs"
        return Intervals(tuple((step, step) for step in steps), "step", numbered=True, note=note)
    if evaluated:
        note = "it has no epochs: the evaluations are numbered from 1 instead"
        return Intervals(tuple(enumerate(steps, start=1)), "step", note=note)
    cuts = sorted({steps[len(steps) * (i + 1) // MAX_WINDOWS - 1] for i in range(MAX_WINDOWS)}) if steps else []
    note = f"it has neither epochs nor validation: its steps are cut into {len(cuts)} intervals" if cuts else ""
    return Intervals(tuple(enumerate(cuts, start=1)), "step", note=note)


def discard_repeated(log: Log, names: Iterable[str]) -> str:
    """Drop what a later fit in the same log repeats: epochs at or after the one where the log starts again.

    Returns:
        a note for people, empty where nothing was dropped.
    """
    dropped = 0
    for name in names:
        column = log.columns[name]
        positions = column.epochs if math.isfinite(column.epochs[0]) else column.steps
        keep: list[int] = []
        for i, position in enumerate(positions):
            while keep and position < positions[keep[-1]]:
                keep.pop()
            keep.append(i)
        dropped += len(column) - len(keep)
        _select(column, keep)
    return (
        "the log starts again at an earlier epoch; what the later part repeats was taken from there" if dropped else ""
    )


def _select(column: Column, keep: list[int]) -> None:
    if len(keep) < len(column):
        column.epochs = array("d", [column.epochs[i] for i in keep])
        column.steps = array("q", [column.steps[i] for i in keep])
        column.values = array("d", [column.values[i] for i in keep])
