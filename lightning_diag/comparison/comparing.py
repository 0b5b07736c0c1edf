"""From runs to a comparison."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

from lightning_diag import statistics
from lightning_diag.comparison.configuration import settings
from lightning_diag.comparison.differences import differences
from lightning_diag.comparison.values import Comparison, Folds, Run, Score, Standing
from lightning_diag.errors import RecordError
from lightning_diag.history import Count, EpochRecord
from lightning_diag.rules.independence import independent
from lightning_diag.statistics import Interval
from lightning_diag.words import title


def compare(runs: Sequence[Run], *, folds: bool = False) -> Comparison:
    """Compare runs by the signal that most of them are judged by.

    Args:
        runs: at least two, with different names.
        folds: the runs are folds of one cross-validation, so that their mean has a meaning.

    Raises:
        RecordError: fewer than two runs, or none with a validation signal.
    """
    if len(runs) < 2:
        raise RecordError(f"{len(runs)} run was given; comparing needs at least two different ones")
    signal, mode = _signal(runs)
    standings = tuple(sorted((_standing(run, signal, mode) for run in runs), key=lambda s: _rank(s, mode)))
    by_name = {run.name: run for run in runs}
    found = differences(standings, {s.name: by_name[s.name].history.context.outcomes for s in standings}, signal)
    best = standings[0].best
    optimism = None
    if best and best.count and found and not folds:
        optimism = statistics.best_of_bias(best.count.n, best.count.rate, len(found) + 1)
    return Comparison(
        signal=signal,
        mode=mode,
        standings=standings,
        differences=found,
        called=title(signal, _task(runs)),
        findings=_findings(runs, known=False),
        known=_findings(runs, known=True),
        settings=settings(runs),
        folds=_folds(standings) if folds else None,
        optimism=optimism,
    )


def _signal(runs: Sequence[Run]) -> tuple[str, str]:
    votes = Counter(pair for run in runs if (pair := run.history.monitored()))
    if not votes:
        raise RecordError("none of the runs has a validation signal to compare (val/acc, ctc/val/ter or val/loss)")
    return votes.most_common(1)[0][0]


def _standing(run: Run, signal: str, mode: str) -> Standing:
    series = run.history.series(signal).finite
    best = series.best(mode)
    record = run.history.record(best[0]) if best else None
    last = run.history.record(series.epochs[-1]) if best else None
    return Standing(
        name=run.name,
        best=_score(run, record, signal),
        final=_score(run, last, signal),
        train=_score(run, record, signal.replace("val", "train", 1)),
        evaluations=len(series),
        series=series,
        codes=tuple(finding.code for finding in run.diagnosis.causes),
        verdict=run.diagnosis.verdict,
    )


def _score(run: Run, record: EpochRecord | None, signal: str) -> Score | None:
    if record is None or signal not in record.values:
        return None
    stage, _, metric = signal.partition("/")
    measured = record.stages.get(stage) if metric == "acc" else None
    dependent = measured is not None and not independent(run.history)
    count = measured.correct if measured and not dependent else None
    return Score(epoch=record.epoch, value=record.values[signal], count=count, dependent=dependent)


def _rank(standing: Standing, mode: str) -> tuple[bool, float, str]:
    """Best value first; of equals the one by name; runs without a value last."""
    value = standing.best.value if standing.best else 0.0
    return standing.best is None, value if mode == "min" else -value, standing.name


def _task(runs: Sequence[Run]) -> str | None:
    """The task of all runs; None where they differ."""
    tasks = {run.history.context.task for run in runs}
    return tasks.pop() if len(tasks) == 1 else None


def _findings(runs: Sequence[Run], *, known: bool) -> Mapping[tuple[str, str], tuple[str, ...]]:
    """Code and name -> runs: of what is only worth knowing, or of all else."""
    found: dict[tuple[str, str], list[str]] = {}
    for run in runs:
        for finding in run.diagnosis.findings:
            if (finding.severity == "info") is known:
                found.setdefault((finding.code, finding.name), []).append(run.name)
    order = sorted(found, key=lambda key: (-len(found[key]), key))
    return {key: tuple(found[key]) for key in order}


def _folds(standings: Sequence[Standing]) -> Folds | None:
    finals = [s.final for s in standings if s.final]
    if not finals:
        return None
    values = [score.value for score in finals]
    counts = [score.count for score in finals if score.count]
    pooled = Count(k=sum(c.k for c in counts), n=sum(c.n for c in counts)) if len(counts) == len(finals) else None
    return Folds(
        n=len(values),
        mean=fmean(values),
        deviation=stdev(values) if len(values) > 1 else 0.0,
        interval=mean_interval(values),
        best_mean=fmean(s.best.value for s in standings if s.best),
        pooled=pooled,
    )


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """Interval of the mean over folds; None below two.

    Folds share training samples, so that the plain standard error is too small: its factor ``1 / k`` becomes
    ``1 / k + 1 / (k - 1)``, the corrected resampled t-test (Nadeau and Bengio 2003, *Inference for the generalization
    error*) with a validation set of 1 / (k - 1) of the training set.
    """
    k = len(values)
    if k < 2:
        return None
    from scipy.stats import t

    half = float(t.ppf(0.5 + confidence / 2, k - 1)) * stdev(values) * math.sqrt(1 / k + 1 / (k - 1))
    return Interval(fmean(values) - half, fmean(values) + half)
