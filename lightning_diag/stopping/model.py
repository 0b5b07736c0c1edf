"""The learnt part: an additive model of "will the best still improve?" read from ``coefficients.json``.

The score is a sum of one piecewise-linear curve per fact, so that each fact's part in a decision can be told. A table
turns the score into the distribution of the *missed gain*, the share of the whole run's gain that stopping now would
miss. Both are fitted by ``python -m benchmarks.fit_stopping`` on recorded runs.
"""

from __future__ import annotations

import itertools
import json
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from lightning_diag.stopping.features import FEATURES, View


@dataclass(frozen=True)
class Curve:
    """A piecewise-linear function, constant outside its knots.

    Attributes:
        knots: ascending; values: at the knots; missing: its value where the fact is not known (NaN).
    """

    knots: tuple[float, ...]
    values: tuple[float, ...]
    missing: float = 0.0

    def __call__(self, x: float) -> float:
        """The value at ``x``."""
        if math.isnan(x):
            return self.missing
        if x <= self.knots[0]:
            return self.values[0]
        if x >= self.knots[-1]:
            return self.values[-1]
        i = bisect_right(self.knots, x)
        low, high = self.knots[i - 1], self.knots[i]
        share = (x - low) / (high - low)
        return self.values[i - 1] + share * (self.values[i] - self.values[i - 1])


@dataclass(frozen=True)
class Outlook:
    """What is expected of going on.

    Attributes:
        missed: ascending shares of the whole gain; exceeds: probability that stopping now misses more than each.
    """

    missed: tuple[float, ...]
    exceeds: tuple[float, ...]

    def probability(self, share: float) -> float:
        """Probability of missing more than ``share`` of the gain, by interpolation."""
        return Curve(self.missed, self.exceeds)(share)

    @property
    def expected(self) -> float:
        """Expected missed share: the integral of ``exceeds`` over the share, from 0 to 1."""
        points = [(0.0, self.exceeds[0]), *zip(self.missed, self.exceeds, strict=True), (1.0, 0.0)]
        pairs = itertools.pairwise(points)
        return math.fsum((b - a) * (p + q) / 2.0 for (a, p), (b, q) in pairs)

    def quantile(self, level: float) -> float:
        """Share that is exceeded with probability ``1 - level``; 0 where missing nothing is that likely."""
        tail = 1.0 - level
        if self.exceeds[0] <= tail:
            return 0.0
        points = [*zip(self.missed, self.exceeds, strict=True), (1.0, 0.0)]
        for (a, p), (b, q) in itertools.pairwise(points):
            if q <= tail:
                return b if p == q else a + (b - a) * (p - tail) / (p - q)
        return 1.0


@dataclass(frozen=True)
class Model:
    """Score, outlook and thresholds for runs with (or without) a planned end.

    Attributes:
        curves: one per fact; their values are centred, so that 0 is an average moment of a run.
        intercept: added to their sum.
        scores: ascending knots of the outlook table; table: one row per knot, ``exceeds`` at each of ``missed``.
        limits: (mean missed gain, score below which to stop), both ascending: the measured frontier.
    """

    curves: Mapping[str, Curve]
    intercept: float
    missed: tuple[float, ...]
    scores: tuple[float, ...]
    table: tuple[tuple[float, ...], ...]
    limits: tuple[tuple[float, float], ...]

    def parts(self, view: View) -> dict[str, float]:
        """Each fact's part of the score."""
        return {name: curve(FEATURES[name](view)) for name, curve in self.curves.items()}

    def score(self, parts: Mapping[str, float]) -> float:
        """The score: high means that the best will still improve."""
        return self.intercept + math.fsum(parts.values())

    def outlook(self, score: float) -> Outlook:
        """The distribution of the missed gain at ``score``."""
        i = min(max(bisect_right(self.scores, score), 1), len(self.scores) - 1)
        low, high = self.scores[i - 1], self.scores[i]
        share = min(max((score - low) / (high - low), 0.0), 1.0)
        rows = zip(self.table[i - 1], self.table[i], strict=True)
        return Outlook(self.missed, tuple(p + share * (q - p) for p, q in rows))

    def limit(self, max_missed_gain: float) -> float:
        """Score below which stopping misses ``max_missed_gain`` of the gain in the mean over recorded runs."""
        shares, scores = zip(*self.limits, strict=True)
        return Curve(shares, scores)(max_missed_gain)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Model:
        """Read one model from its JSON object."""
        curves = {
            name: Curve(tuple(c["knots"]), tuple(c["values"]), c.get("missing", 0.0))
            for name, c in data["curves"].items()
        }
        table = tuple(_floats(row) for row in data["table"])
        limits = tuple((float(a), float(b)) for a, b in data["limits"])
        return cls(curves, data["intercept"], _floats(data["missed"]), _floats(data["scores"]), table, limits)


def _floats(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(v) for v in values)


@lru_cache(maxsize=1)
def shipped() -> tuple[Model, Model]:
    """The fitted models that come with the library: (with a planned end, without one)."""
    text = resources.files("lightning_diag.stopping").joinpath("coefficients.json").read_text(encoding="utf-8")
    data = json.loads(text)
    return Model.from_json(data["planned"]), Model.from_json(data["open"])
