"""Where the criterion would have stopped a run that is on record."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lightning_diag.history import EpochRecord, Paired, RunHistory
from lightning_diag.stopping.criterion import StoppingCriterion
from lightning_diag.stopping.values import Decision, Evaluation


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A run seen again through the criterion.

    Attributes:
        monitor, mode: the series decided on.
        decisions: one per evaluation, also after the first stop: what would have been said had the run gone on.
        stop: the first decision to stop; None when the criterion would have let the run finish.
        saved: evaluations after that one.
        missed: share of the gain of the recorded run that stopping there would have missed; None without a gain.
    """

    monitor: str
    mode: str
    decisions: tuple[Decision, ...]
    stop: Decision | None = None
    saved: int = 0
    missed: float | None = None


def replay(history: RunHistory, criterion: StoppingCriterion | None = None) -> Replay | None:
    """Run the criterion over ``history``.

    Args:
        history: the record of a run.
        criterion: settings to use; it is reset first. By default one with the run's own monitor, mode and planned end.

    Returns:
        The decisions, or None when the history holds no monitored series.
    """
    monitored = history.monitored()
    if monitored is None:
        return None
    monitor, mode = monitored
    rows = [record for record in history.epochs if monitor in record.values]
    if criterion is None:
        criterion = StoppingCriterion(mode, planned=planned_index(history, rows))
    criterion.reset()
    decisions = []
    for evaluation, record in zip(evaluations(rows, monitor), rows, strict=True):
        decisions.append(criterion.update(compared(evaluation, record, criterion.best_index)))
    values = [record.values[monitor] for record in rows]
    return outcome(monitor, criterion.mode, tuple(decisions), values)


def outcome(monitor: str, mode: str, decisions: tuple[Decision, ...], values: Sequence[float]) -> Replay:
    """What following ``decisions`` (one per value) would have saved and missed."""
    place = next((i for i, decision in enumerate(decisions) if decision.stop), None)
    if place is None:
        return Replay(monitor=monitor, mode=mode, decisions=decisions)
    missed = missed_gain(values, place + 1, mode)
    saved = len(values) - place - 1
    return Replay(monitor=monitor, mode=mode, decisions=decisions, stop=decisions[place], saved=saved, missed=missed)


def missed_gain(values: Sequence[float], ran: int, mode: str) -> float | None:
    """(best of all - best of the first ``ran``) / (best of all - first value), over finite values; None without a gain."""
    sign = -1.0 if mode == "min" else 1.0
    oriented = [sign * v if math.isfinite(v) else -math.inf for v in values]
    finite = [v for v in oriented if v > -math.inf]
    if not finite or max(finite) <= finite[0]:
        return None
    return (max(oriented) - max(oriented[:ran])) / (max(finite) - finite[0])


def planned_index(history: RunHistory, rows: Sequence[EpochRecord]) -> float | None:
    """Index of the planned last evaluation, in the unit that :func:`evaluations` uses for ``rows``."""
    optim = history.context.optim
    if _by_epoch(rows):
        return None if optim.planned_epochs is None else float(optim.planned_epochs - 1)
    if _by_step(rows):
        return None if optim.planned_steps is None else float(optim.planned_steps)
    return None


def evaluations(rows: Sequence[EpochRecord], monitor: str) -> Iterator[Evaluation]:
    """The rows as input of a criterion: placed by epoch, or by step where an epoch has several, else by order."""
    by_epoch, by_step = _by_epoch(rows), _by_step(rows)
    for order, row in enumerate(rows):
        index = row.epoch if by_epoch else row.step if by_step and row.step is not None else order
        others = {k: v for k, v in row.values.items() if k.startswith("val/") and k not in {monitor, "val/loss"}}
        yield Evaluation(
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


LOSSES, ANSWERS = "the loss of each sample", "the answer to each sample"


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
    if not changed:
        return None
    from scipy.stats import binom

    return float(binom.sf(paired.lost - 1, changed, 0.5))


def _by_epoch(rows: Sequence[EpochRecord]) -> bool:
    return all(b.epoch > a.epoch for a, b in itertools.pairwise(rows))


def _by_step(rows: Sequence[EpochRecord]) -> bool:
    steps = [row.step for row in rows]
    return all(a is not None and b is not None and b > a for a, b in itertools.pairwise(steps))
