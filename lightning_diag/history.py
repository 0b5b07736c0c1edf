"""The frozen record of a run: what was measured, and nothing else.

A :class:`RunHistory` is the only thing that rules, engine and report see. It is the same value whether it comes from
a live run, a resumed run, ``history.jsonl`` or somebody else's CSV.

Conventions
-----------
* Absent is not zero: a value that was not measured in an evaluation is missing.
* Every rate is a :class:`Count`, *k of n*, so that intervals and exact tests stay possible.
* Scalars of an epoch live in ``EpochRecord.values`` under the names listed in :data:`SIGNALS`; ``train/...`` and
  ``val/...`` say the stage. A second validation loader is ``val:1/...``.
* Shares and accuracies are fractions (0.72, not 72), losses are in nats, times in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

SCHEMA_VERSION = 1

SIGNALS: Mapping[str, str] = {
    "train/loss": "mean training loss over the epoch, as the training step returned it",
    "val/loss": "mean validation loss, recomputed from the captured loss calls (weighted by samples)",
    "train/acc": "training accuracy (multiclass, binary, dense: share of positions), from the captured pairs",
    "val/acc": "validation accuracy",
    "train/balanced_acc": "mean recall over the classes with support",
    "val/balanced_acc": "mean recall over the classes with support",
    "train/macro_f1": "mean F1 over the classes with support",
    "val/macro_f1": "mean F1 over the classes with support",
    "train/entropy": "mean entropy of the predicted distribution, in units of ln(classes)",
    "val/entropy": "mean entropy of the predicted distribution, in units of ln(classes)",
    "val/confidence": "mean probability of the predicted class",
    "val/ece": "expected calibration error, 15 equal-width bins",
    "probe/train_loss": "loss of a fixed probe of the training set in eval mode",
    "probe/train_acc": "accuracy of a fixed probe of the training set in eval mode (as a count: ``stages['probe']``)",
    "probe/train_n": "samples (positions) of that probe; with the accuracy it makes a count",
    "grad/norm": "mean global L2 norm of the gradient before clipping, over the sampled steps",
    "grad/norm_max": "largest global gradient norm of the sampled steps",
    "grad/cosine": "mean cosine between gradients of consecutive sampled steps",
    "grad/clip_ratio": "share of the gradient norm that clipping left (1 = nothing clipped)",
    "grad/first_last_ratio": "gradient norm of the first weight matrix over that of the last",
    "grad/nonfinite_steps": "sampled steps with a non-finite gradient",
    "update/ratio": "norm of the epoch's weight update over the norm of the weights",
    "param/norm": "global L2 norm of the parameters",
    "relu/dead_share": "largest share, over ReLU layers, of units that never fired on the validation probe",
    "loss/first": "training loss of the very first step",
    "loss/step_min": "smallest training step loss of the epoch",
    "loss/step_max": "largest training step loss of the epoch",
    "loss/nonfinite_steps": "training steps with a non-finite loss",
    "batch/purity": "mean share of a training batch taken by its most common class",
    "logged/{name}": "what the module itself logged in validation under ``name``, for names with acc, as callback_metrics has it",
    "lr": "learning rate of the first parameter group at the end of the epoch",
    "time/epoch": "seconds of the epoch, validation included",
    "ctc/{stage}/blank_share": "share of frames (masked by input lengths) whose argmax is the blank",
    "ctc/{stage}/blank_expected": "1 - |y| / T, the blank share of a hypothesis with one frame per token",
    "ctc/{stage}/blank_posterior": "mean probability of the blank",
    "ctc/{stage}/nonblank_per_token": "non-blank frames per reference token",
    "ctc/{stage}/emit_ratio": "emitted tokens over reference tokens",
    "ctc/{stage}/empty_share": "share of lines that are decoded to nothing",
    "ctc/{stage}/top_token_share": "share of the emitted tokens taken by the most frequent one",
    "ctc/{stage}/distinct_tokens": "number of different tokens that were emitted",
    "ctc/{stage}/reference_tokens": "number of different tokens in the references",
    "ctc/{stage}/distinct_hypotheses": "different hypotheses over decoded lines",
    "ctc/{stage}/entropy": "mean entropy of a frame's distribution, in units of ln(outputs)",
    "ctc/{stage}/loss_per_token": "CTC loss per reference token, over the lines that have a path",
    "ctc/{stage}/loss_ratio": "loss per token over the trivial loss (best output that ignores the input)",
    "ctc/{stage}/loss_fall_50": "relative fall of the loss over the last 50 steps (means of 25 steps)",
    "ctc/{stage}/loss_fall_50_se": "standard error of loss_fall_50",
    "ctc/{stage}/nonfinite_losses": "steps with a loss that was not finite",
    "ctc/{stage}/ter": "token error rate of the greedy decode",
    "ctc/{stage}/sub": "substitutions per reference token",
    "ctc/{stage}/del": "deletions per reference token",
    "ctc/{stage}/ins": "insertions per reference token",
    "ctc/{stage}/wer": "word error rate, where token names are known",
    "ctc/{stage}/cer": "character error rate, where token names are known",
    "ctc/{stage}/exact_share": "share of lines without an error",
    "ctc/{stage}/infeasible_share": "share of lines with fewer frames than tokens and repeats",
    "ctc/{stage}/hidden_share": "the same, where zero_infinity hides their infinite loss",
    "ctc/{stage}/blank_target_share": "share of target tokens that equal the blank",
    "ctc/{stage}/out_of_range_share": "share of target tokens that the output does not have",
    "ctc/{stage}/length_share": "input lengths over frames, padding included",
    "ctc/{stage}/tokens_per_frame": "target tokens per frame",
    "ctc/{stage}/tokens_per_line": "target tokens per line",
    "ctc/{stage}/norm_error_share": "share of frames whose probabilities do not sum to one",
    "ctc/{stage}/pinned_share": "share of frames whose log-probabilities span exactly 1 (softmax twice)",
    "ctc/{stage}/nonfinite_share": "share of frames with a value that is not finite",
}
"""Well-known names of scalars; more may be present (they are shown, and no rule needs them)."""


@dataclass(frozen=True, kw_only=True, order=True)
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


@dataclass(frozen=True, kw_only=True, slots=True)  # slots: a long run holds millions of them
class ClassRow:
    """One class in one evaluation, as counts.

    Attributes:
        index: class index in the target.
        support: samples (positions) whose target is this class.
        predicted: samples that were predicted as this class.
        correct: samples of this class that were predicted as this class.
    """

    index: int
    support: int
    predicted: int
    correct: int

    @property
    def recall(self) -> Count:
        """Correct of support."""
        return Count(k=self.correct, n=self.support)

    @property
    def precision(self) -> Count:
        """Correct of predicted."""
        return Count(k=self.correct, n=self.predicted)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; NaN without support and predictions."""
        total = self.support + self.predicted
        return 2 * self.correct / total if total else math.nan


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """How often ``target`` was predicted as ``predicted`` (off the diagonal, largest first in a record)."""

    target: int
    predicted: int
    count: int


@dataclass(frozen=True, kw_only=True)
class GroupRow:
    """Accuracy of one group of samples (a demographic, a writer, a site)."""

    group: str
    correct: Count


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """What one evaluation of one stage measured besides its scalars.

    Attributes:
        n: samples (for dense tasks: positions that count) the metrics rest on.
        correct: accuracy as a count; None where the task has none.
        classes: one row per class; empty where thinned or where the task has no classes.
        confusions: most frequent confusions, largest first, bounded.
        matrix: full confusion matrix, rows are targets; only up to 64 classes, else empty.
        groups: per-group accuracy, where ``groups=`` was given.
        paired: paired comparison of this evaluation with the best one so far; None where samples are not paired.
        complete: False when the evaluation did not cover the whole loader (``limit_*_batches``, a torn epoch).
        padded: samples that a distributed sampler repeated to make the ranks even.
    """

    n: int
    correct: Count | None = None
    classes: tuple[ClassRow, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    matrix: tuple[tuple[int, ...], ...] = ()
    groups: tuple[GroupRow, ...] = ()
    paired: Paired | None = None
    complete: bool = True
    padded: int = 0


@dataclass(frozen=True, kw_only=True)
class Paired:
    """The same validation samples at two evaluations.

    Attributes:
        reference_epoch: the epoch compared with (the best so far before this one, by accuracy, else by loss).
        both: right in both; gained: wrong then, right now; lost: right then, wrong now; neither: wrong in both.
        loss_delta_mean: mean over samples of (loss now - loss then); None without per-sample losses.
        loss_delta_sem: its standard error.
    """

    reference_epoch: int
    both: int
    gained: int
    lost: int
    neither: int
    loss_delta_mean: float | None = None
    loss_delta_sem: float | None = None


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened in an epoch.

    Attributes:
        kind: one of ``start resume best lr_cut lr_restart lr_rise stop would_stop exception interrupted partial
            verified not_loaded announced``.
        text: one short sentence for the report.
    """

    kind: str
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """What one epoch (one validation interval) measured; append-only."""

    epoch: int
    step: int | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    stages: Mapping[str, StageRecord] = field(default_factory=dict)
    lrs: tuple[float, ...] = ()
    events: tuple[Event, ...] = ()

    def value(self, name: str) -> float | None:
        """The scalar ``name`` if it was measured in this epoch."""
        return self.values.get(name)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One sample shown in the report.

    Attributes:
        index: position in the validation order.
        reference: target class index, or the token sequence for CTC.
        prediction: predicted class index or token sequence.
        confidence: probability of the predicted class (None for CTC).
        loss: loss of this sample in nats, where known.
        role: why it was picked: ``surest mistake``, ``best``, ``median``, ``worst``, ``longest``.
    """

    index: int
    reference: tuple[int, ...]
    prediction: tuple[int, ...]
    confidence: float | None = None
    loss: float | None = None
    role: str = ""


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """What each sample of a validation set did in one evaluation, so that runs can be compared paired.

    Attributes:
        stage: ``val``, ``val:1`` ...; epoch: of the evaluation (the best one).
        n: samples. fingerprint: of the targets and their order; runs with the same one saw the same samples.
        right: bit i is set when sample i was predicted right, as a hexadecimal number.
    """

    stage: str
    epoch: int
    n: int
    fingerprint: int
    right: str


@dataclass(frozen=True, kw_only=True)
class SplitFacts:
    """What is known about one split of the data.

    Attributes:
        size: samples in the data set; None for an iterable data set.
        batches: batches per epoch; batch_size: samples per batch.
        class_counts: samples per class index (from the targets of one epoch, or the data set's labels).
        drawn_counts: samples per class that were really drawn in the first epoch (differs under a sampler).
        sampler: class name of the sampler; shuffled: whether the order is random; drop_last as in the loader.
        input_mean, input_std, input_min, input_max: moments of the sampled inputs, over all features.
        feature_std_min, feature_std_max: extremes of the per-feature standard deviation.
        feature_mean_absmax: largest absolute per-feature mean.
        constant_features: share of features that do not vary in the sample.
        nonfinite_inputs: number of sampled samples with NaN or infinite inputs.
        distinct: distinct samples among ``hashed`` fingerprinted ones.
        label_purity: mean share of a batch taken by its most common class; purity_expected: the same under shuffling;
            purity_sd: standard deviation of that mean under shuffling.
        features: values per sample of the inputs.
        augmented: whether the data set gave different inputs when a few samples (8 are enough) were fetched twice.
    """

    size: int | None = None
    batches: int | None = None
    batch_size: int | None = None
    class_counts: tuple[int, ...] = ()
    drawn_counts: tuple[int, ...] = ()
    sampler: str | None = None
    shuffled: bool | None = None
    drop_last: bool | None = None
    input_mean: float | None = None
    input_std: float | None = None
    input_min: float | None = None
    input_max: float | None = None
    feature_std_min: float | None = None
    feature_std_max: float | None = None
    feature_mean_absmax: float | None = None
    constant_features: float | None = None
    nonfinite_inputs: int | None = None
    sampled: int | None = None
    distinct: int | None = None
    hashed: int | None = None
    label_purity: float | None = None
    purity_expected: float | None = None
    purity_sd: float | None = None
    features: int | None = None
    augmented: bool | None = None


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """Both splits and how they relate.

    Attributes:
        overlap: validation samples whose fingerprint is also in training, of the validation samples fingerprinted.
        overlap_expected: share of validation samples that would match by chance if features were independent.
        near_overlap: validation samples nearer to a training sample than half the distance that 1 % of the training
            samples have to their own nearest neighbour, of those compared; without copies fewer than 1 %.
        low_cardinality: True when exact duplicates are expected by chance (few distinct feature values).
        shift_smd: mean standardised difference of feature means between the splits.
        shift_pvalue: p-value of the two-sample test (None when not run).
        shift_auc: area under the ROC of a classifier that tells the splits apart (0.5 = cannot).
    """

    train: SplitFacts = field(default_factory=SplitFacts)
    val: SplitFacts = field(default_factory=SplitFacts)
    overlap: Count | None = None
    low_cardinality: bool = False
    overlap_expected: float | None = None
    near_overlap: Count | None = None
    shift_smd: float | None = None
    shift_pvalue: float | None = None
    shift_auc: float | None = None


@dataclass(frozen=True, kw_only=True)
class BlockFacts:
    """One block of the module in the last epoch.

    Attributes:
        name: dotted name. grad_norm: mean norm of its gradient over the sampled steps.
        update_ratio: norm of the epoch's update over the norm of its weights.
    """

    name: str
    grad_norm: float | None = None
    update_ratio: float | None = None


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What is known about the module.

    Attributes:
        name: class name; parameters / trainable: number of scalars.
        changed: share of the parameters that changed during the run, by the end.
        in_optimizer: share of the parameters that some optimizer updates.
        trainable_not_in_optimizer: share of parameters that require grad but are in no optimizer.
        without_grad: share of trainable parameters that never received a gradient.
        frozen: names of the top-level blocks (dotted) whose parameters are all frozen.
        missing_blocks: names of trainable blocks in no optimizer.
        batch_norm / dropout: whether the module has such layers.
        modes: share of sampled steps in which a stage ran with the expected module modes.
        nondeterministic_eval: largest absolute difference of two forwards of one probe batch in eval mode.
        constant_init: share of weight matrices that were constant at the start.
        looks_fresh: the weights looked freshly initialised before the first step; frozen_fresh: the frozen ones did.
        blocks: what the gradient and the updates of each block were in the last epoch.
        outputs_are_probabilities: the values given to a cross entropy were already probabilities.
        class_axis_ok: False when the loss normalised over another axis than the classes.
        norm_shift: how far the inputs are from what a pretrained model has seen: for the first normalisation layer with
            running statistics that was already trained at fit start (``num_batches_tracked`` > 0 or statistics other than
            0 and 1), the mean over its channels of |mean of the first training batch - running mean| / running standard
            deviation; both statistics as they were before the first step. None without such a layer.
        norm_scale: for the same layer and batch, the median over channels of (batch standard deviation / running
            standard deviation).
    """

    name: str = ""
    parameters: int | None = None
    trainable: int | None = None
    changed: float | None = None
    in_optimizer: float | None = None
    trainable_not_in_optimizer: float | None = None
    without_grad: float | None = None
    frozen: tuple[str, ...] = ()
    missing_blocks: tuple[str, ...] = ()
    batch_norm: bool | None = None
    dropout: bool | None = None
    train_mode_ok: Count | None = None
    eval_mode_ok: Count | None = None
    nondeterministic_eval: float | None = None
    constant_init: float | None = None
    looks_fresh: bool | None = None
    frozen_fresh: bool | None = None
    blocks: tuple[BlockFacts, ...] = ()
    outputs_are_probabilities: bool | None = None
    class_axis_ok: bool | None = None
    norm_shift: float | None = None
    norm_scale: float | None = None
    loss_name: str | None = None
    loss_weight: tuple[float, ...] = ()
    label_smoothing: float | None = None


@dataclass(frozen=True, kw_only=True)
class OptimFacts:
    """Optimiser, schedule and clipping, as configured.

    Attributes:
        gradients_kept: sampled steps that began with the gradient of an earlier step still in ``.grad`` although no
            accumulation was asked for (seen before the backward pass), of the sampled steps.
    """

    optimizer: str | None = None
    scheduler: str | None = None
    lr: float | None = None
    weight_decay: float | None = None
    momentum: float | None = None
    clip: float | None = None
    clip_algorithm: str | None = None
    accumulate: int | None = None
    automatic: bool | None = None
    planned_epochs: int | None = None
    planned_steps: int | None = None
    early_stopping: str | None = None
    gradients_kept: Count | None = None


@dataclass(frozen=True, kw_only=True)
class BlockShare:
    """How much of one block of the module equals the checkpoint."""

    block: str
    parameters: int
    equal: float


@dataclass(frozen=True, kw_only=True)
class PretrainFacts:
    """The verdict on pretrained weights.

    Attributes:
        verdict: ``loaded``, ``partly loaded``, ``not loaded``, ``loaded, since trained or rounded``, ``resumed``,
            ``checkpoint untrained``, ``cannot tell``.
        checkpoint: path as given; module: dotted name of the module compared.
        equal: share of the discriminative parameters that equal the checkpoint; aligned: share whose names could
            be aligned; cosine: numel-weighted cosine of the aligned weights.
        checkpoint_untrained: the checkpoint itself looks freshly initialised.
        reason: one sentence with numbers; fix: one line of code that would load it, tried before it is printed.
        resumed_from: checkpoint that the fit resumed from; looks_fresh: every norm layer of the module is at its
            initial value (None where it has none).
        new_parts: blocks of the module that the checkpoint was never meant to fill.
        statistics_equal: running statistics equal the checkpoint before the first training forward.
        used: the module took part in a forward or got a gradient; frozen: share of its parameters without
            ``requires_grad``; not_in_optimizer: share of the trainable ones that no optimizer updates.
        provisional: judged before training, when weights can still be loaded or lost.
    """

    verdict: str
    checkpoint: str = ""
    module: str = ""
    parameters: int | None = None
    equal: float | None = None
    aligned: float | None = None
    cosine: float | None = None
    relative_l2: float | None = None
    checkpoint_untrained: bool | None = None
    checkpoint_key: str | None = None
    blocks: tuple[BlockShare, ...] = ()
    head_mismatch: tuple[str, ...] = ()
    reason: str = ""
    fix: str | None = None
    resumed_from: str | None = None
    looks_fresh: bool | None = None
    new_parts: tuple[str, ...] = ()
    statistics_equal: bool | None = None
    used: bool | None = None
    frozen: float | None = None
    not_in_optimizer: float | None = None
    provisional: bool = False


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
        mapping_ter: token error rate after the best hyp-to-ref token map learnt on the other half (validation).
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
    mapping_ter: float | None = None


@dataclass(frozen=True, kw_only=True)
class CaptureFacts:
    """Where predictions and targets of a stage came from.

    Attributes:
        stage: ``train`` or ``val``; source: e.g. ``loss call cross_entropy``; task: see ``RunContext.task``.
        problem: why nothing (or only the loss) was captured, and how to mend it.
        heads: names of further loss calls in the step that were not chosen.
    """

    stage: str
    source: str | None = None
    task: str | None = None
    problem: str | None = None
    heads: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StopFacts:
    """How and why the run ended, and what the stopping criterion thinks.

    Attributes:
        status: ``finished`` (planned length), ``stopped`` (a callback asked), ``interrupted``, ``exception``,
            ``running`` (the report was written before the end), ``unknown``.
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
        resumed_from: path of the checkpoint that the fit resumed from; resumed_epoch: first epoch of this fit.
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


@dataclass(frozen=True)
class Series:
    """One scalar over the epochs in which it was measured; same length, epochs ascending."""

    name: str
    epochs: tuple[int, ...]
    values: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[tuple[int, float]]:
        return iter(zip(self.epochs, self.values, strict=True))

    @property
    def finite(self) -> Series:
        """The series without NaN and infinite values."""
        kept = [(e, v) for e, v in self if math.isfinite(v)]
        return Series(self.name, tuple(e for e, _ in kept), tuple(v for _, v in kept))

    def best(self, mode: str = "min") -> tuple[int, float] | None:
        """(epoch, value) of the best finite value, the earliest of equals; None when there is none."""
        sign = 1.0 if mode == "min" else -1.0
        kept = list(self.finite)
        return min(kept, key=lambda pair: sign * pair[1]) if kept else None


@dataclass(frozen=True, kw_only=True)
class RunHistory:
    """A whole run: context and epochs, immutable."""

    context: RunContext = field(default_factory=RunContext)
    epochs: tuple[EpochRecord, ...] = ()

    def series(self, name: str) -> Series:
        """The scalar ``name`` over the epochs that measured it (empty when never measured)."""
        found = self._read.get(name)
        if found is None:
            rows = [(r.epoch, r.values[name]) for r in self.epochs if name in r.values]
            found = self._read[name] = Series(name, tuple(e for e, _ in rows), tuple(v for _, v in rows))
        return found

    @cached_property
    def _read(self) -> dict[str, Series]:
        """Series that were asked for: fifty rules ask for the same ones, and a long run has ten thousand epochs."""
        return {}

    @cached_property
    def _evaluated(self) -> dict[str, tuple[tuple[int, StageRecord], ...]]:
        return {}

    def stage(self, stage: str) -> tuple[tuple[int, StageRecord], ...]:
        """(epoch, record) of every epoch that evaluated ``stage``."""
        found = self._evaluated.get(stage)
        if found is None:
            rows = tuple((r.epoch, r.stages[stage]) for r in self.epochs if stage in r.stages)
            found = self._evaluated[stage] = rows
        return found

    def last_stage(self, stage: str) -> StageRecord | None:
        """The last evaluation of ``stage``."""
        rows = self.stage(stage)
        return rows[-1][1] if rows else None

    def signals(self) -> tuple[str, ...]:
        """Names of all scalars that were measured at least once, in order of first appearance."""
        seen: dict[str, None] = {}
        for record in self.epochs:
            seen.update(dict.fromkeys(record.values))
        return tuple(seen)

    def record(self, epoch: int) -> EpochRecord | None:
        """The record of ``epoch`` (the last one, if it was evaluated several times)."""
        return next((r for r in reversed(self.epochs) if r.epoch == epoch), None)

    def monitored(self) -> tuple[str, str] | None:
        """(signal, mode) by which *best* is judged: the user's monitor, else accuracy, else TER, else loss."""
        present = set(self.signals())
        if self.context.monitor in present:
            return str(self.context.monitor), self.context.monitor_mode
        options = (("val/acc", "max"), ("ctc/val/ter", "min"), ("val/loss", "min"))
        return next((pair for pair in options if pair[0] in present), None)

    def best_record(self, since: int | None = None) -> EpochRecord | None:
        """The record with the best monitored value (earliest of equals).

        Args:
            since: look at this epoch and later ones only.
        """
        monitored = self.monitored()
        if monitored is None:
            return None
        name, sign = monitored[0], 1.0 if monitored[1] == "min" else -1.0
        rows = (
            r
            for r in self.epochs
            if math.isfinite(r.values.get(name, math.nan)) and (since is None or r.epoch >= since)
        )
        return min(rows, key=lambda r: sign * r.values[name], default=None)

    def unrecorded_baseline(self) -> Baseline | None:
        """The baseline where it lies before the first record; None where it is one of the records."""
        baseline = self.context.baseline
        recorded = baseline is not None and baseline.epoch is not None and self.record(baseline.epoch) is not None
        return None if recorded else baseline

    def class_name(self, index: int) -> str:
        """Name of class ``index``, or ``class <index>`` (``token <index>`` for CTC)."""
        names = self.context.class_names
        kind = "token" if self.context.task == "ctc" else "class"
        return names[index] if 0 <= index < len(names) else f"{kind} {index}"
