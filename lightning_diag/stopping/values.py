"""What goes into the criterion and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Cause = Literal["improving", "stalled", "too early", "held", "non-finite", "collapse", "worse", "target"]
"""Why a decision fell as it did; the last four and ``stalled`` stop a run."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One evaluation of the validation set.

    Attributes:
        index: where it was made, ascending: an epoch or a step.
        value: the monitored series; NaN and infinite values are understood.
        train_loss: mean training loss since the last evaluation, where known.
        val_loss: validation loss, where the monitored series is something else.
        others: further validation series by name; names with ``loss``, ``error``, ``wer`` and the like count as
            lower-is-better.
        lr: learning rate of the first parameter group, where known.
        worse: p-value of a paired one-sided test that the samples fare worse now than at the best evaluation.
        worse_by: what that test compared, as words ("the loss per sample").
        hold: a reason not to stop now that only the caller knows ("CTC still emits blanks only").
    """

    index: float
    value: float
    train_loss: float | None = None
    val_loss: float | None = None
    others: Mapping[str, float] = field(default_factory=dict)
    lr: float | None = None
    worse: float | None = None
    worse_by: str = ""
    hold: str | None = None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What the criterion says after one evaluation. Nothing is latched: the next evaluation decides anew.

    Attributes:
        stop: whether to stop now.
        cause: see :data:`Cause`.
        reason: one sentence with numbers.
        index: of the evaluation decided on.
        best: best value so far (as given, not negated); best_index: where; None before the first finite value.
        probability: probability that the best still improves by more than ``min_gain``; None before the third value.
        threshold: the probability below which the criterion stops.
        expected_gain: how much the best is expected to improve still, in units of the monitored value, never negative;
            None where nothing was gained yet, so that no unit is known.
        interval: 80 % interval of that improvement.
        expected_missed: share of the whole gain that stopping now is expected to miss.
        weights: what moved the probability most, as (fact, log-odds against an average moment of a run) pairs.
    """

    stop: bool
    cause: Cause
    reason: str
    index: float
    best: float | None = None
    best_index: float | None = None
    probability: float | None = None
    threshold: float | None = None
    expected_gain: float | None = None
    interval: tuple[float, float] | None = None
    expected_missed: float | None = None
    weights: tuple[tuple[str, float], ...] = ()
