"""Where the criterion would have stopped a run that is on record."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from lightning_diag.history import Count, EpochRecord, Paired, RunHistory, StopSettings
from lightning_diag.statistics import binomial
from lightning_diag.stopping.joint import JointCriterion
from lightning_diag.stopping.values import Decision, Evaluation

Hold = Callable[[Mapping[str, float]], str | None]
"""Why not to stop at an evaluation with these values, for reasons that only the caller knows; None: no reason."""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A run seen again through the criterion.

    Attributes:
        series: (signal, mode) pairs that were decided on together, the leading one first.
        epochs: epoch of each evaluation.
        decisions: one per evaluation, also after the first stop: what would have been said had the run gone on.
        each: signal -> its own decisions.
        planned: where the last evaluation was planned, an epoch or a step; None where it is not known.
        stop: the first decision to stop, in a resumed run after resuming; None when the criterion would have let the run
            finish. stop_epoch: its epoch.
        saved: evaluations after that one.
        missed: share of the gain of the leading series that stopping there would have missed; None without a gain.
    """

    series: tuple[tuple[str, str], ...]
    epochs: tuple[int, ...]
    decisions: tuple[Decision, ...]
    each: Mapping[str, tuple[Decision, ...]]
    planned: float | None = None
    stop: Decision | None = None
    stop_epoch: int | None = None
    saved: int = 0
    missed: float | None = None


def replay(history: RunHistory, hold: Hold | None = None) -> Replay | None:
    """Run the criterion over ``history``, with the series and settings that the run was watched by.

    Args:
        history: the record of a run.
        hold: a reason to wait that only the caller knows.

    Returns:
        The decisions, or None when the history holds no series to decide on.
    """
    series = history.watched()
    rows = [record for record in history.epochs if all(name in record.values for name, _ in series)]
    if not series or not rows:
        return None
    asked = history.context.stopping or StopSettings()
    indices, planned = _placed(history, rows)
    criterion = JointCriterion.of(replace(asked, series=series, planned=planned))
    decisions: list[Decision] = []
    each: dict[str, list[Decision]] = {name: [] for name, _ in series}
    for index, record in zip(indices, rows, strict=True):
        decisions.append(criterion.update(inputs(criterion, record, index, hold)))
        for name, decision in criterion.latest.items():
            each[name].append(decision)
    seen = Replay(
        series=series,
        epochs=tuple(record.epoch for record in rows),
        decisions=tuple(decisions),
        each={name: tuple(parts) for name, parts in each.items()},
        planned=planned,
    )
    return _outcome(seen, [record.values[series[0][0]] for record in rows], history.context.resumed_epoch)


def _outcome(seen: Replay, values: Sequence[float], resumed: int | None) -> Replay:
    """What following the decisions (one per value of the leading series) would have saved and missed."""
    since = -1 if resumed is None else resumed
    pairs = enumerate(zip(seen.epochs, seen.decisions, strict=True))
    place = next((i for i, (epoch, decision) in pairs if decision.stop and epoch >= since), None)
    if place is None:
        return seen
    return replace(
        seen,
        stop=seen.decisions[place],
        stop_epoch=seen.epochs[place],
        saved=len(values) - place - 1,
        missed=missed_gain(values, place + 1, seen.series[0][1]),
    )


def missed_gain(values: Sequence[float], ran: int, mode: str) -> float | None:
    """(best of all - best of the first ``ran``) / (best of all - first value), over finite values; None without a gain."""
    sign = -1.0 if mode == "min" else 1.0
    oriented = [sign * v if math.isfinite(v) else -math.inf for v in values]
    finite = [v for v in oriented if v > -math.inf]
    if not finite or max(finite) <= finite[0]:
        return None
    return (max(oriented) - max(oriented[:ran])) / (max(finite) - finite[0])


def _placed(history: RunHistory, rows: Sequence[EpochRecord]) -> tuple[Sequence[float], float | None]:
    """Where the rows and the planned end are: by epoch, or by step where an epoch has several, else by order."""
    asked, optim = history.context.stopping or StopSettings(), history.context.optim
    epochs = [row.epoch for row in rows]
    steps = [row.step for row in rows if row.step is not None]
    if not asked.by_step and _ascend(epochs):
        last = None if optim.planned_epochs is None else float(optim.planned_epochs - 1)
        return epochs, asked.planned if asked.by_step is False else last
    if len(steps) == len(rows) and _ascend(steps):
        last = None if optim.planned_steps is None else float(optim.planned_steps)
        return steps, asked.planned if asked.by_step else last
    return range(len(rows)), None


def _ascend(places: Sequence[int]) -> bool:
    return all(b > a for a, b in itertools.pairwise(places))


def inputs(
    criterion: JointCriterion, record: EpochRecord, index: float, hold: Hold | None = None
) -> dict[str, Evaluation]:
    """One record as input of each series of ``criterion``.

    Raises:
        KeyError: a series was not measured.
    """
    reason = hold(record.values) if hold else None
    return {
        name: compared(replace(_evaluation(record, name, index), hold=reason), record, single.best_index)
        for name, single in criterion.criteria.items()
    }


def _evaluation(row: EpochRecord, monitor: str, index: float) -> Evaluation:
    others = {k: v for k, v in row.values.items() if k.startswith("val/") and k not in {monitor, "val/loss"}}
    return Evaluation(
        index=index,
        value=row.values[monitor],
        train_loss=row.values.get("train/loss"),
        val_loss=None if monitor == "val/loss" else row.values.get("val/loss"),
        others=others,
        lr=row.values.get("lr", row.lrs[0] if row.lrs else None),
    )


def compared(evaluation: Evaluation, record: EpochRecord, best_index: float) -> Evaluation:
    """The evaluation with what its samples say against those at the best one, where ``record`` pairs them."""
    stage = record.stages.get("val")
    paired = stage.paired if stage else None
    if paired is None or paired.reference_epoch != best_index:
        return evaluation
    return replace(evaluation, worse=worsening_p(paired), worse_by=LOSSES if _by_loss(paired) else ANSWERS)


LOSSES, ANSWERS = "the loss per sample", "the answer to each sample"


def _by_loss(paired: Paired) -> bool:
    return paired.loss_delta_mean is not None and bool(paired.loss_delta_sem)


def worsening_p(paired: Paired) -> float | None:
    """One-sided p-value that the samples fare worse than at the reference.

    By per-sample losses (normal approximation of their mean difference) where they are known, else by the exact sign
    test on the samples that changed sides (McNemar). None when nothing can be compared.
    """
    if paired.loss_delta_mean is not None and paired.loss_delta_sem:
        return 0.5 * math.erfc(paired.loss_delta_mean / paired.loss_delta_sem / math.sqrt(2.0))
    changed = paired.gained + paired.lost
    return binomial(Count(k=paired.lost, n=changed), 0.5, "greater") if changed else None
