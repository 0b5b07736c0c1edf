"""Facts that are known before the first step: optimiser, schedule, loaders, module, names. Nothing here ever raises."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from typing import Any

from torch import nn
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler

from lightning_diag.history import ModelFacts, OptimFacts, SplitFacts

NAME_ATTRIBUTES = ("class_names", "classes", "class_to_idx", "target_names", "categories", "label_names")
_PACKAGES = ("lightning", "pytorch_lightning", "torch", "torchmetrics", "numpy", "lightning_diag")


def optim_facts(trainer: Any) -> OptimFacts:
    """Optimiser, schedule, clipping and planned length, as the Trainer has them at fit start."""
    optimizer = trainer.optimizers[0] if trainer.optimizers else None
    group = optimizer.param_groups[0] if optimizer is not None and optimizer.param_groups else {}
    schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
    return OptimFacts(
        optimizer=type(optimizer).__name__ if optimizer is not None else None,
        scheduler=", ".join(type(scheduler).__name__ for scheduler in schedulers) or None,
        lr=_number(group.get("lr")),
        weight_decay=_number(group.get("weight_decay")),
        momentum=_number(group.get("momentum", (group.get("betas") or (None,))[0])),
        clip=_number(trainer.gradient_clip_val),
        clip_algorithm=str(getattr(trainer.gradient_clip_algorithm, "value", trainer.gradient_clip_algorithm) or "norm")
        if trainer.gradient_clip_val
        else None,
        accumulate=int(trainer.accumulate_grad_batches),
        automatic=bool(trainer.lightning_module.automatic_optimization),
        planned_epochs=_planned(trainer.max_epochs),
        planned_steps=_planned(trainer.max_steps),
        early_stopping=_early_stopping(trainer),
    )


def split_facts(loader: Any) -> SplitFacts:
    """What a loader says about itself: size, batches, sampler, order."""
    dataset = getattr(loader, "dataset", None)
    sampler = getattr(loader, "sampler", None)
    batch_sampler = getattr(loader, "batch_sampler", None)
    ready = isinstance(loader, DataLoader) and batch_sampler is None  # batch_size=None: items may be batches
    return SplitFacts(
        size=None if ready else _length(dataset),
        batches=_length(loader),
        batch_size=_whole(getattr(loader, "batch_size", None) or getattr(batch_sampler, "batch_size", None)),
        sampler=type(sampler).__name__ if sampler is not None else None,
        shuffled=_shuffled(sampler),
        replacement=_flag(_safe(sampler, "replacement")),
        drop_last=_flag(getattr(loader, "drop_last", None)),
    )


def model_facts(module: nn.Module) -> ModelFacts:
    """Size, frozen blocks and layer kinds of a module."""
    parameters = list(module.parameters())
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]  # noqa: SLF001  (the only common base)
    return ModelFacts(
        name=type(module).__name__,
        parameters=sum(_numel(p) for p in parameters),
        trainable=sum(_numel(p) for p in parameters if p.requires_grad),
        frozen=_frozen_blocks(module),
        batch_norm=bool(norms),
        sync_batch_norm=all(isinstance(m, nn.SyncBatchNorm) for m in norms) if norms else None,
        dropout=any(map(_drops, module.modules())),
    )


def class_names(*sources: Any) -> tuple[str, ...]:
    """Class names found on a data set, data module or module: the first source that has them.

    Args:
        sources: objects that may carry one of :data:`NAME_ATTRIBUTES`, as a sequence of text or a name -> index map.
    """
    for source in sources:
        for attribute in NAME_ATTRIBUTES:
            names = _as_names(_safe(source, attribute))
            if names:
                return names
    return ()


def versions() -> dict[str, str]:
    """Installed versions of the packages that matter for reproducing a run."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package.replace("_", "-"))
        except metadata.PackageNotFoundError:
            continue
    return found


def datasets_of(loader: Any) -> Iterable[Any]:
    """The data set of a loader and the sets that it wraps (``Subset``, ``ConcatDataset``)."""
    found: list[Any] = []
    todo = [getattr(loader, "dataset", None)]
    while todo and len(found) < 8:
        dataset = todo.pop()
        if dataset is not None:
            found.append(dataset)
            todo += [_safe(dataset, "dataset"), *(_safe(dataset, "datasets") or ())]
    return found


def _early_stopping(trainer: Any) -> str | None:
    stoppers = [c for c in trainer.callbacks if any(b.__name__ == "EarlyStopping" for b in type(c).__mro__)]
    texts = [
        f"{type(c).__name__}(monitor={_safe(c, 'monitor')!r}, patience={_safe(c, 'patience')}, "
        f"min_delta={_safe(c, 'min_delta')})"
        for c in stoppers
        if type(c).__name__ == "EarlyStopping"
    ]
    return "; ".join(texts) or None


def _frozen_blocks(module: nn.Module, prefix: str = "", depth: int = 3) -> tuple[str, ...]:
    """Topmost blocks whose parameters are all frozen, by dotted name."""
    blocks: list[str] = []
    for name, child in module.named_children():
        parameters = list(child.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            blocks.append(prefix + name)
        elif depth > 1:
            blocks += _frozen_blocks(child, f"{prefix}{name}.", depth - 1)
    return tuple(blocks)


def _drops(part: nn.Module) -> bool:
    """Whether a part drops something in training: a dropout layer, or a setting that is called so and lies between 0 and 1.

    ``MultiheadAttention``, ``LSTM``, DropPath and LayerDrop layers and modules that call ``F.dropout`` keep the rate as a number.
    """
    if isinstance(part, nn.modules.dropout._DropoutNd):  # noqa: SLF001  (the only common base)
        return part.p > 0
    settings = {**vars(part), **({"drop": _safe(part, "p")} if "drop" in type(part).__name__.lower() else {})}
    rates = [value for name, value in settings.items() if "drop" in name.lower() and isinstance(value, float)]
    return any(0 < rate < 1 for rate in rates)


def _shuffled(sampler: Any) -> bool | None:
    if isinstance(sampler, SequentialSampler):
        return False
    if isinstance(sampler, RandomSampler) or "Random" in type(sampler).__name__:
        return True
    return _flag(getattr(sampler, "shuffle", None))


def _as_names(found: Any) -> tuple[str, ...]:
    if isinstance(found, Mapping):
        pairs = [(k, v) for k, v in found.items() if isinstance(k, str) and isinstance(v, int)]
        found = [name for name, _ in sorted(pairs, key=lambda pair: pair[1])] if len(pairs) == len(found) else None
    if isinstance(found, Sequence) and not isinstance(found, str) and found and all(isinstance(n, str) for n in found):
        return tuple(found)
    return ()


def _safe(source: Any, attribute: str) -> Any:
    """An attribute of an object that may be anything; None where reading it fails."""
    try:
        return getattr(source, attribute, None)
    except Exception:  # noqa: BLE001  (a property of the user's object)
        return None


def _numel(parameter: Any) -> int:
    """Scalars of a parameter; 0 for a lazy one that has no shape yet."""
    return 0 if isinstance(parameter, nn.parameter.UninitializedParameter) else int(parameter.numel())


def _length(sized: Any) -> int | None:
    try:
        return len(sized)
    except Exception:  # noqa: BLE001  (iterable data sets, and lengths that raise)
        return None


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, int) else None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _planned(value: Any) -> int | None:
    return int(value) if isinstance(value, int) and value > 0 else None
