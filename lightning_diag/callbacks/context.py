"""The context of a run, read from the Trainer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from lightning_diag.callbacks.loaders import first_loader
from lightning_diag.callbacks.options import Options
from lightning_diag.callbacks.run import Run
from lightning_diag.history import Baseline, Count, DataFacts, EpochRecord, StageRecord, Target
from lightning_diag.readers.params import flat
from lightning_diag.signals.setup_facts import (
    class_names,
    datasets_of,
    model_facts,
    split_facts,
    versions,
)

DEFAULT_METRIC = "val/acc"
_LOWER_IS_BETTER = ("loss", "error", "err", "ter", "wer", "cer", "perplexity", "ppl", "mse", "mae")


def context_changes(run: Run) -> dict[str, Any]:
    """Fields of the :class:`RunContext` that are known at fit start."""
    trainer, options = run.trainer, run.options
    strategy = type(trainer.strategy).__name__
    return {
        "class_names": _names(run),
        "model": model_facts(run.module),
        "monitor": options.monitor,
        "monitor_mode": options.mode or mode_of(options.monitor or ""),
        "target": _target(options),
        "baseline": _baseline(options, run),
        "resumed_from": None if trainer.ckpt_path is None else str(trainer.ckpt_path),
        "precision": str(trainer.precision),
        "devices": int(trainer.world_size),
        "accelerator": type(trainer.accelerator).__name__.removesuffix("Accelerator").lower(),
        "strategy": strategy,
        "seed": _seed(os.environ),
        "versions": versions(),
        "hparams": flat(dict(getattr(run.module, "hparams", None) or {})),
        "settings": options.shown() | {"callbacks": ", ".join(sorted(run.wanted))},
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def data_facts(trainer: Any) -> DataFacts:
    """Both splits as their loaders describe them; loaders exist after the sanity check."""
    train = trainer.train_dataloader
    return DataFacts(train=split_facts(first_loader(train)), val=split_facts(first_loader(trainer.val_dataloaders)))


def mode_of(monitor: str) -> str:
    """``min`` for names that speak of a loss or an error, else ``max``."""
    words = monitor.lower().replace("/", "_").replace("-", "_").split("_")
    return "min" if any(word in _LOWER_IS_BETTER for word in words) else "max"


def baseline_of(values: Mapping[str, float], stage: StageRecord | None) -> Baseline:
    """What a full validation before the first step measured."""
    return Baseline(
        source="validation before the first step",
        correct=None if stage is None else stage.correct,
        value=values.get(DEFAULT_METRIC),
        loss=values.get("val/loss"),
    )


def _baseline(options: Options, run: Run) -> Baseline | None:
    """The restored history, else what the user gave."""
    restored = _last_validated(run.recorder.epochs) if run.restored else None
    if restored is not None:
        stage = restored.stages.get("val")
        return Baseline(
            source="restored history",
            epoch=restored.epoch,
            correct=None if stage is None else stage.correct,
            value=restored.values.get(DEFAULT_METRIC),
            loss=restored.values.get("val/loss"),
        )
    if isinstance(options.baseline, tuple):
        count = Count(k=options.baseline[0], n=options.baseline[1])
        return Baseline(source="given", correct=count, value=count.rate)
    return None if options.baseline is None else Baseline(source="given", value=float(options.baseline))


def _last_validated(epochs: tuple[EpochRecord, ...]) -> EpochRecord | None:
    return next((r for r in reversed(epochs) if "val/loss" in r.values or "val" in r.stages), None)


def _target(options: Options) -> Target | None:
    if options.target is None:
        return None
    metric = options.target_metric or options.monitor or DEFAULT_METRIC
    mode = options.mode if metric == options.monitor and options.mode else mode_of(metric)
    return Target(value=float(options.target), metric=metric, mode=mode)


def _names(run: Run) -> tuple[str, ...]:
    if run.options.class_names:
        return run.options.class_names
    token_names = run.options.id_to_token
    if isinstance(token_names, (list, tuple)):
        return tuple(map(str, token_names))
    if isinstance(token_names, Mapping):
        return tuple(str(token_names.get(i, f"token {i}")) for i in range(max(token_names, default=-1) + 1))
    loader = first_loader(run.trainer.train_dataloader or run.trainer.fit_loop._data_source.instance)  # noqa: SLF001  (loaders are made later)
    return class_names(*datasets_of(loader), run.trainer.datamodule, run.module)


def _seed(environment: Mapping[str, str]) -> int | None:
    """The seed that ``seed_everything`` leaves in the environment."""
    text = environment.get("PL_GLOBAL_SEED", "")
    return int(text) if text.isdigit() else None
