"""What is known about the module, its optimiser and its starting weights."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_diag.history.counts import Count


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
        missing_without_grad: share of parameters that require grad, are in no optimizer and never received a gradient.
        frozen: names of the top-level blocks (dotted) whose parameters are all frozen.
        missing_blocks: names of trainable blocks in no optimizer.
        batch_norm / dropout: whether the module has such layers.
        sync_batch_norm: whether they are all synchronised over the devices.
        modes: share of sampled steps in which a stage ran with the expected module modes.
        nondeterministic_eval: largest difference of two forwards of one probe batch in eval mode, as a share of the
            largest output.
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
        relu_missing: why no ReLU unit was observed; None where some were.
    """

    name: str = ""
    parameters: int | None = None
    trainable: int | None = None
    changed: float | None = None
    in_optimizer: float | None = None
    trainable_not_in_optimizer: float | None = None
    without_grad: float | None = None
    missing_without_grad: float | None = None
    frozen: tuple[str, ...] = ()
    missing_blocks: tuple[str, ...] = ()
    batch_norm: bool | None = None
    dropout: bool | None = None
    sync_batch_norm: bool | None = None
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
    relu_missing: str | None = None


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
