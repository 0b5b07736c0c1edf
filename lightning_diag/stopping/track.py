"""What is remembered of one series: a few dozen numbers, however long the run is.

A :class:`Track` holds the last :data:`RECENT` values as they came, a thinned trace of the whole series (every second
point is dropped whenever :data:`TRACE` points are full, so it covers the run evenly) and a handful of running numbers.
Values are oriented when they come in: higher is better.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

RECENT = 30
"""Values kept as they came: the longest window that a feature looks at."""
TRACE = 64
"""Points of the thinned trace."""
HUGE = 1e100
"""Values from here on count as not finite: training that far out has diverged, and squares would overflow."""
HALF_LIVES = (2.0, 5.0, 15.0)
"""Half-lives of the moving averages, in evaluations."""


def usable(value: float) -> bool:
    """Whether ``value`` is a number to reckon with: not NaN, not infinite, below :data:`HUGE`."""
    return abs(value) < HUGE


@dataclass
class Trace:
    """A series thinned evenly to at most :data:`TRACE` points; ``at(count)`` is the last kept point up to ``count``."""

    stride: int = 1
    points: list[float] = field(default_factory=list)

    def append(self, count: int, value: float) -> None:
        """Keep ``value``, the ``count``-th of the series (from 1), if its turn has come."""
        if (count - 1) % self.stride:
            return
        self.points.append(value)
        if len(self.points) >= TRACE:
            self.points = self.points[::2]
            self.stride *= 2

    def first_at(self, level: float) -> int:
        """Count of the first kept point that is at least ``level``, in a trace that never falls."""
        return bisect_left(self.points, level) * self.stride + 1

    def at(self, count: float) -> float:
        """The kept value at or before the ``count``-th (from 1); the first one when ``count`` is below 1."""
        return self.points[min(max(int(count) - 1, 0) // self.stride, len(self.points) - 1)]


@dataclass
class Track:
    """Running facts of one series, higher is better."""

    count: int = 0
    first: float = math.nan
    best: float = -math.inf
    best_count: int = 0
    records: int = 0
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    recent_best: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    averages: list[float] = field(default_factory=list)
    values: Trace = field(default_factory=Trace)
    bests: Trace = field(default_factory=Trace)

    def add(self, value: float) -> None:
        """Take the next finite value."""
        self.count += 1
        if self.count == 1:
            self.first, self.averages = value, [value] * len(HALF_LIVES)
        if value > self.best:
            self.best, self.best_count = value, self.count
            self.records += 1
        self._average(value)
        self.recent.append(value)
        self.recent_best.append(self.best)
        self.values.append(self.count, value)
        self.bests.append(self.count, self.best)

    def _average(self, value: float) -> None:
        for i, half_life in enumerate(HALF_LIVES):
            rate = max(1.0 - 0.5 ** (1.0 / half_life), 1.0 / self.count)
            self.averages[i] += rate * (value - self.averages[i])

    @property
    def wait(self) -> int:
        """Evaluations since the best one."""
        return self.count - self.best_count

    @property
    def gain(self) -> float:
        """How much better the best is than the first value."""
        return self.best - self.first

    def best_ago(self, back: int) -> float:
        """The best as it stood ``back`` evaluations ago (``back`` below :data:`RECENT`)."""
        return self.recent_best[max(len(self.recent_best) - 1 - back, 0)]

    def noise(self) -> float:
        """Noise of one evaluation: from second differences of the last 16 values, which a steady trend leaves alone.

        The second difference of white noise has √6 times its standard deviation; the median of absolute values is
        0.6745 standard deviations. 0 with fewer than three values.
        """
        last = list(self.recent)[-16:]
        seconds = sorted(abs(c - 2 * b + a) for a, b, c in zip(last, last[1:], last[2:], strict=False))
        return _median(seconds) / (0.6745 * math.sqrt(6.0)) if seconds else 0.0

    def slope(self, window: int) -> float:
        """Least-squares slope per evaluation of the last ``window`` values; 0 with fewer than three."""
        last = list(self.recent)[-window:]
        n = len(last)
        if n < 3:
            return 0.0
        centre = (n - 1) / 2.0
        return sum((i - centre) * v for i, v in enumerate(last)) / (n * (n * n - 1) / 12.0)

    def state(self) -> dict[str, object]:
        """Plain numbers and lists, for a checkpoint."""
        return {
            "count": self.count,
            "first": self.first,
            "best": self.best,
            "best_count": self.best_count,
            "records": self.records,
            "recent": list(self.recent),
            "recent_best": list(self.recent_best),
            "averages": list(self.averages),
            "values": [self.values.stride, *self.values.points],
            "bests": [self.bests.stride, *self.bests.points],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, object]) -> Track:
        """The inverse of :meth:`state`."""
        plain: dict[str, object] = dict(state)
        for name in ("recent", "recent_best"):
            plain[name] = deque(_floats(plain[name]), maxlen=RECENT)
        for name in ("values", "bests"):
            stride, *points = _floats(plain[name])
            plain[name] = Trace(int(stride), points)
        plain["averages"] = _floats(plain["averages"])
        return cls(**plain)  # type: ignore[arg-type]  # the keys are those of state(), made above


def _floats(values: object) -> list[float]:
    assert isinstance(values, Sequence)
    return [float(v) for v in values]


def _median(ordered: Sequence[float]) -> float:
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else 0.5 * (ordered[half - 1] + ordered[half])
