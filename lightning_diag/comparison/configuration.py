"""In which settings runs differ."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_diag.comparison.values import Run, Setting
from lightning_diag.history import RunContext

_OPTIM = ("optimizer", "scheduler", "lr", "weight_decay", "momentum", "clip", "accumulate", "planned_epochs")
_CALLED = {
    "lr": "learning rate",
    "weight_decay": "weight decay",
    "clip": "gradient clipping",
    "accumulate": "accumulated batches",
    "planned_epochs": "planned epochs",
}
"""What the observed settings are called where no run has a hyper-parameter of their name."""


def settings(runs: Sequence[Run]) -> tuple[Setting, ...]:
    """Every setting that at least two of the runs record with different values, or some runs alone.

    Hyper-parameters first, then what was observed of optimiser, data, model and versions.
    """
    recorded = {run.name: recorded_settings(run.history.context) for run in runs}
    names = dict.fromkeys(name for values in recorded.values() for name in values)
    found = []
    for name in names:
        values = {run: given[name] for run, given in recorded.items() if name in given}
        if len(set(values.values())) > 1 or len(values) < len(runs):
            own = any(name in run.history.context.hparams for run in runs)
            found.append(Setting(name=name if own else _CALLED.get(name, name), values=values))
    return tuple(found)


def recorded_settings(context: RunContext) -> dict[str, str]:
    """Settings of one run by name, as text; what the hyper-parameters say is not repeated."""
    found = dict(context.hparams)
    observed: dict[str, object] = {name: getattr(context.optim, name) for name in _OPTIM}
    observed |= {
        "model": context.model.name or None,
        "parameters": context.model.parameters,
        "trainable": context.model.trainable,
        "classes": context.classes,
        "train size": context.data.train.size,
        "val size": context.data.val.size,
        "batch size": context.data.train.batch_size,
        "sampler": context.data.train.sampler,
        "precision": context.precision,
        "devices": context.devices,
        "seed": context.seed,
        "resumed from": context.resumed_from,
    }
    observed |= {f"version of {name}": version for name, version in context.versions.items()}
    known = {name.rpartition(".")[2] for name in found}
    found |= {name: str(value) for name, value in observed.items() if value is not None and name not in known}
    return found
