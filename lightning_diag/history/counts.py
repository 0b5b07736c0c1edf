"""Counts of one evaluation: a rate as k of n, a class, a confusion, a group."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, order=True, slots=True)
class Count:
    """``k`` of ``n``: a rate that remembers how much it rests on."""

    k: int
    n: int

    def __post_init__(self) -> None:
        if self.n < 0 or not 0 <= self.k <= self.n:
            raise ValueError(f"Count(k={self.k}, n={self.n}): expected 0 <= k <= n")

    @property
    def rate(self) -> float:
        """``k / n``; NaN for ``n == 0``."""
        return self.k / self.n if self.n else math.nan


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassRow:
    """One class in one evaluation, as counts.

    Attributes:
        index: class index in the target.
        support: samples (positions) whose target is this class.
        predicted: samples that were predicted as this class; None where only the recall of the class was recorded.
        correct: samples of this class that were predicted as this class.
    """

    index: int
    support: int
    predicted: int | None
    correct: int

    @property
    def recall(self) -> Count:
        """Correct of support."""
        return Count(k=self.correct, n=self.support)

    @property
    def precision(self) -> Count | None:
        """Correct of predicted; None where that is not known."""
        return None if self.predicted is None else Count(k=self.correct, n=self.predicted)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; NaN without support and predictions, or where these are not known."""
        if self.predicted is None:
            return math.nan
        total = self.support + self.predicted
        return 2 * self.correct / total if total else math.nan


@dataclass(frozen=True, kw_only=True, slots=True)
class Confusion:
    """How often ``target`` was predicted as ``predicted`` (off the diagonal, largest first in a record)."""

    target: int
    predicted: int
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupRow:
    """Accuracy of one group of samples (a demographic, a writer, a site)."""

    group: str
    correct: Count
