"""Everything about a run that is not measured once per epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lightning_diag.history.counts import Confusion, Count
from lightning_diag.history.data import DataFacts
from lightning_diag.history.epochs import Outcomes, Sample
from lightning_diag.history.model import ModelFacts, OptimFacts, PretrainFacts


@dataclass(frozen=True, kw_only=True)
class MappingTest:
    """Whether a one-to-one map of emitted to reference tokens, learnt on other lines, removes errors.

    Attributes:
        before: token error rate of the lines as they are; after: with the map.
        chance: token error rate without a map when the references are exchanged between lines; None where no map gained.
        p_value: chance of such a gain for output that says nothing about its lines (permutation test).
        lines: lines that were used.
    """

    before: float
    after: float
    chance: float | None
    p_value: float
    lines: int

    @property
    def renumbered(self) -> float:
        """Share of what the output says about its lines, in errors below chance, that it says under other numbers."""
        if self.chance is None or not self.after < self.chance:
            return 0.0
        return min(1.0, (self.before - self.after) / (self.chance - self.after))


@dataclass(frozen=True, kw_only=True)
class CTCFacts:
    """Facts about the CTC set-up that do not change over epochs.

    Attributes:
        blank: blank index of the loss; classes: size of the output.
        decoder_blank: blank index of the decoder, where known.
        trivial_loss: mean loss per token of the best output that ignores the input, in nats.
        checks: findings of the call checks, as (code word, sentence) pairs.
        infeasible: lines with fewer frames than labels plus repeats, of the lines seen in training.
        blank_in_targets: target tokens equal to the blank, of all target tokens seen.
        out_of_range: target tokens outside 0..classes-1.
        zero_infinity: as given to the loss.
        never_emitted: token indices in the references that were never emitted in the last evaluation.
        confused_tokens: most frequent substitutions of the last evaluation.
        mapping: the mapping test on the last validation: does another numbering of the tokens explain its errors?
    """

    blank: int | None = None
    classes: int | None = None
    decoder_blank: int | None = None
    trivial_loss: float | None = None
    checks: tuple[tuple[str, str], ...] = ()
    infeasible: Count | None = None
    blank_in_targets: Count | None = None
    out_of_range: Count | None = None
    zero_infinity: bool | None = None
    never_emitted: tuple[int, ...] = ()
    confused_tokens: tuple[Confusion, ...] = ()
    mapping: MappingTest | None = None


@dataclass(frozen=True, kw_only=True)
class CaptureFacts:
    """Where predictions and targets of a stage came from.

    Attributes:
        stage: ``train`` or ``val``; source: e.g. ``loss call cross_entropy``; task: see ``RunContext.task``.
        problem: why nothing (or only the loss) was captured.
        remedy: how to hand over predictions that were not found; None where none are missing, as in a regression.
        heads: names of further loss calls in the step that were not chosen.
    """

    stage: str
    source: str | None = None
    task: str | None = None
    problem: str | None = None
    remedy: str | None = None
    heads: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StopFacts:
    """How and why the run ended, and what the stopping criterion thinks.

    Attributes:
        status: ``finished`` (planned length), ``stopped`` (a callback asked), ``interrupted``, ``exception``,
            ``running`` (no end was recorded: the run goes on, or was killed), ``unknown``.
        reason: one sentence.
        stopper: class name of the callback that stopped the run.
        would_stop_epoch: where the adaptive criterion would have stopped.
        saved_epochs / saved_seconds: what that would have saved.
        missed_gain: share of the gain that stopping there would have missed (replay only).
        probability: (epoch, probability that the best still improves) pairs.
        best_checkpoint: path that holds the best weights, where something kept them.
    """

    status: str = "unknown"
    reason: str = ""
    stopper: str | None = None
    error: str | None = None
    would_stop_epoch: int | None = None
    would_stop_reason: str = ""
    saved_epochs: int | None = None
    saved_seconds: float | None = None
    missed_gain: float | None = None
    probability: tuple[tuple[int, float], ...] = ()
    best_checkpoint: str | None = None


@dataclass(frozen=True, kw_only=True)
class StopSettings:
    """What the stopping criterion was asked in a run, so that a replay of its record asks the same.

    Attributes:
        series: (signal, mode) pairs that must all have stalled, the leading one first; empty: the usual ones
            (:meth:`RunHistory.watched`).
        max_missed_gain: share of the gain that may be missed; min_gain, min_evaluations, target, stop_at_target: as
            given to ``AdaptiveEarlyStop``.
        by_step: whether evaluations are placed by step and not by epoch; None: as the record allows.
        planned: index of the last planned evaluation, an epoch or a step.
        rates: (index, learning rate) where the planned rate changes; empty where the schedule is not known.
        on_plateau: the scheduler waits for a plateau; floor: the lowest rate that it goes down to.
    """

    series: tuple[tuple[str, str], ...] = ()
    max_missed_gain: float = 0.05
    min_gain: float = 0.05
    min_evaluations: int = 3
    target: float | None = None
    stop_at_target: bool = False
    by_step: bool | None = None
    planned: float | None = None
    rates: tuple[tuple[float, float], ...] = ()
    on_plateau: bool = False
    floor: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Target:
    """What the user wants to reach: ``metric >= value`` (or ``<=`` for ``mode="min"``)."""

    value: float
    metric: str = "val/acc"
    mode: str = "max"


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """Where the run started from: the restored history, the user's ``baseline=``, or a validation before step 1.

    Attributes:
        source: one of ``restored history``, ``given``, ``validation before the first step``.
        epoch: the epoch that the starting weights come from, where known.
    """

    source: str
    epoch: int | None = None
    correct: Count | None = None
    value: float | None = None
    loss: float | None = None


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """Everything about a run that is not measured once per epoch.

    Attributes:
        task: ``multiclass``, ``binary``, ``multilabel``, ``dense``, ``ctc``, ``regression`` or None (unknown).
        classes: number of classes (CTC: of outputs, the blank included).
        class_names: names by index; empty where unknown.
        monitor: signal by which *best* is judged; monitor_mode ``max`` or ``min``.
        resumed_from: path given to ``fit(ckpt_path=)``, which restored weights, optimiser, schedule and counters from it;
            resumed_epoch: first epoch of this fit.
        stopping: what the stopping criterion was asked; None in a record from elsewhere.
        settings: callbacks and rule thresholds in use, as display text.
        hparams: hyper-parameters of the run by dotted name, as text; what two runs did differently is read from them.
        outcomes: what each validation sample did at the best evaluation; empty where samples are not paired or too many.
        notes: sentences of the observer about itself (a monitor that switched off, thinned rows, ...).
        source: where the record comes from (``live``, a path, a log format).
    """

    task: str | None = None
    classes: int | None = None
    class_names: tuple[str, ...] = ()
    monitor: str | None = None
    monitor_mode: str = "max"
    model: ModelFacts = field(default_factory=ModelFacts)
    data: DataFacts = field(default_factory=DataFacts)
    optim: OptimFacts = field(default_factory=OptimFacts)
    pretrain: PretrainFacts | None = None
    ctc: CTCFacts | None = None
    capture: tuple[CaptureFacts, ...] = ()
    stop: StopFacts = field(default_factory=StopFacts)
    stopping: StopSettings | None = None
    target: Target | None = None
    baseline: Baseline | None = None
    resumed_from: str | None = None
    resumed_epoch: int | None = None
    precision: str | None = None
    devices: int | None = None
    accelerator: str | None = None
    strategy: str | None = None
    seed: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    hparams: Mapping[str, str] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()
    outcomes: tuple[Outcomes, ...] = ()
    notes: tuple[str, ...] = ()
    source: str = "live"
    started: str | None = None
    total_seconds: float | None = None
