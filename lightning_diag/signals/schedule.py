"""The learning rate that a schedule will give, found on a copy of the scheduler: the user's one is never stepped."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch.optim import lr_scheduler

STEPS_SIMULATED = 20_000
"""Scheduler steps that are simulated at most (about 0.1 s); schedulers with a closed form need no simulation."""


def planned_rates(config: Any, evaluations: Sequence[int], *, steps_per_epoch: float) -> list[float] | None:
    """The learning rate of the first parameter group at coming evaluations.

    Args:
        config: Lightning's scheduler configuration (``trainer.lr_scheduler_configs[0]``).
        evaluations: epochs from now (1 = the next one) at which the rate is wanted, ascending.
        steps_per_epoch: optimiser steps per epoch, for schedulers that are stepped per step.

    Returns:
        one rate per evaluation; None for a scheduler whose future cannot be known (``ReduceLROnPlateau``, own
        classes that depend on anything but the step).
    """
    scheduler = config.scheduler
    if is_plateau(scheduler) or not evaluations:
        return None
    per_epoch = steps_per_epoch if config.interval == "step" else 1.0
    marks = [math.floor(e * per_epoch / max(1, config.frequency)) for e in evaluations]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the copy is stepped without its optimiser
            return _closed_form(scheduler, marks) or _simulated(scheduler, marks)
    except Exception:  # noqa: BLE001  (a scheduler of the user's own may be anything)
        return None


def is_plateau(scheduler: Any) -> bool:
    """Whether the scheduler waits for a plateau, so that its cuts are not known in advance."""
    return isinstance(scheduler, lr_scheduler.ReduceLROnPlateau) or hasattr(scheduler, "num_bad_epochs")


def _closed_form(scheduler: Any, marks: Sequence[int]) -> list[float] | None:
    """Jump to each mark where the rate depends on the step alone."""
    direct = isinstance(scheduler, (lr_scheduler.OneCycleLR, lr_scheduler.LambdaLR))
    if not direct and not hasattr(scheduler, "_get_closed_form_lr"):
        return None
    twin = _twin(scheduler)
    rates: list[float] = []
    for mark in marks:
        twin.last_epoch = scheduler.last_epoch + mark
        if direct and twin.last_epoch >= getattr(twin, "total_steps", math.inf):
            rates.append(rates[-1] if rates else _rate(twin))
            continue
        rates.append(float((twin.get_lr() if direct else twin._get_closed_form_lr())[0]))  # noqa: SLF001  (torch's own jump)
    return rates


def _simulated(scheduler: Any, marks: Sequence[int]) -> list[float] | None:
    if marks[-1] > STEPS_SIMULATED:
        return None
    twin, done, rates = _twin(scheduler), 0, []
    for mark in marks:
        for _ in range(mark - done):
            twin.step()
        done = mark
        rates.append(_rate(twin))
    return rates


def _twin(scheduler: Any, optimizer: Any = None) -> Any:
    """A copy with an optimiser of one scalar instead of the user's parameters."""
    optimizer = optimizer or _stand_in(scheduler.optimizer)
    twin = copy.copy(scheduler)
    for name, value in vars(scheduler).items():
        if name == "optimizer":
            twin.optimizer = optimizer
        elif name == "_schedulers":
            twin._schedulers = [_twin(inner, optimizer) for inner in value]  # noqa: SLF001  (where torch keeps them)
        elif isinstance(value, (list, dict)) and name != "lr_lambdas":
            setattr(twin, name, copy.deepcopy(value))
    vars(twin).pop("step", None)  # Lightning and torch wrap it on the instance to watch the order of calls
    return twin


def _stand_in(optimizer: Any) -> torch.optim.Optimizer:
    twin = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    group = optimizer.param_groups[0]
    plain = {name: copy.deepcopy(value) for name, value in group.items() if name != "params"}
    twin.param_groups = [{"params": twin.param_groups[0]["params"], **plain} for _ in optimizer.param_groups]
    for mine, theirs in zip(twin.param_groups, optimizer.param_groups, strict=True):
        mine.update({name: float(theirs[name]) for name in ("lr", "initial_lr") if name in theirs})
    return twin


def _rate(scheduler: Any) -> float:
    return float(scheduler.optimizer.param_groups[0]["lr"])
