"""The frozen values of a comparison of runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lightning_diag.findings import Claim, Diagnosis
from lightning_diag.history import Count, RunHistory, Series
from lightning_diag.statistics import Interval


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run with its judgement; ``name`` tells it from the others."""

    name: str
    history: RunHistory
    diagnosis: Diagnosis


@dataclass(frozen=True, kw_only=True)
class Score:
    """One evaluation of one run: epoch, monitored value, and the count behind it where there is one.

    ``dependent`` says that what was counted are positions of samples, which depend on each other: no test takes them.
    """

    epoch: int
    value: float
    count: Count | None = None
    dependent: bool = False


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A run in the table.

    Attributes:
        best, final: its best and last evaluation; None when the compared signal was not measured.
        train: training value of the same metric in the epoch of the best.
        evaluations: how often it was evaluated. series: the compared signal.
        codes: codes of its causes, most important first. verdict: first line of its diagnosis.
    """

    name: str
    best: Score | None
    final: Score | None
    train: Score | None
    evaluations: int
    series: Series
    codes: tuple[str, ...]
    verdict: str


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The best run against another one, both at their best.

    Attributes:
        other: name of the other run. amount: value of the best minus value of the other.
        p_value: two-sided, after Holm's correction for all pairs of the runs; None where nothing can be tested.
        method: the test, or why there is none. needed: samples per run that would settle it.
    """

    other: str
    amount: float
    claim: Claim
    method: str
    p_value: float | None = None
    needed: int | None = None


@dataclass(frozen=True, kw_only=True)
class Folds:
    """The runs as folds of one cross-validation.

    Attributes:
        n: folds with a value. mean, deviation: of the values at the folds' last evaluation, which were not selected.
        interval: 95 % interval of the mean; None below two folds.
        best_mean: mean of the folds' best values, which selection makes too good.
        pooled: correct of all, where every fold counted: each sample is in one validation set only.
    """

    n: int
    mean: float
    deviation: float
    interval: Interval | None
    best_mean: float
    pooled: Count | None = None


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A setting in which the runs differ: value of each run by name (absent where a run does not record it)."""

    name: str
    values: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Several runs, compared.

    Attributes:
        signal, mode: what they are ranked by. standings: best first; runs without the signal last.
        differences: the best run against the others, in the order of the standings.
        called: the signal in words.
        findings: code and name of a warning or an error -> runs that have it, most frequent first; known: the same of what is
            only worth knowing.
        settings: settings in which runs differ. optimism: by how much picking the best of so many runs overstates it.
    """

    signal: str
    mode: str
    standings: tuple[Standing, ...]
    differences: tuple[Difference, ...] = ()
    called: str = ""
    findings: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    known: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    settings: tuple[Setting, ...] = ()
    folds: Folds | None = None
    optimism: float | None = None

    @property
    def best(self) -> Standing | None:
        """The run with the best value."""
        return self.standings[0] if self.standings and self.standings[0].best else None
