"""What a checkpoint carries of a stage, and how the collector of a resumed run takes it up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from lightning_diag.callbacks.collector import StageCollector
from lightning_diag.metrics.carried import carried_counts, carried_memory, take_up_counts, take_up_memory


def stage_state(collector: StageCollector) -> dict[str, Any]:
    """The open interval of training, or the best evaluation of validation, and what outlives both."""
    state: dict[str, Any] = {}
    if collector.ctc is not None:
        from lightning_diag.metrics.ctc_carried import carried_ctc

        state["ctc"] = carried_ctc(collector.ctc)
    if collector.memory is not None:
        state["memory"] = carried_memory(collector.memory)
    elif collector.steps:
        state |= {"steps": collector.steps, "task": collector.task, "classes": collector.classes}
        state["counts"] = carried_counts(collector.metrics)
    return state


def take_up_stage(collector: StageCollector, state: Mapping[str, Any], device: torch.device, *, carried: bool) -> None:
    """Go on from :func:`stage_state`, before the first step.

    Args:
        collector: of the resumed run.
        state: what was carried.
        device: where the training runs.
        carried: whether the open interval goes on.
    """
    if "ctc" in state and collector.with_ctc:
        from lightning_diag.metrics.ctc_carried import take_up_ctc

        take_up_ctc(collector.ctc_collector(), state["ctc"], device, carried=carried)
    if collector.memory is not None:
        take_up_memory(collector.memory, state["memory"])
    elif carried and "steps" in state:
        collector.steps, collector.task, collector.classes = state["steps"], state["task"], state["classes"]
        take_up_counts(collector.metrics, state["counts"])
