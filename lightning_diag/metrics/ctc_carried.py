# ruff: noqa: SLF001  (the collector and its metric are of this package; their own files are long enough)
"""What a checkpoint carries of the CTC signals of a stage, as plain values and tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from lightning_diag.metrics.ctc_collector import CTCCollector
from lightning_diag.metrics.ctc_signals import CTCSignals
from lightning_diag.metrics.ctc_trivial import TrivialLoss


def carried_ctc(collector: CTCCollector) -> dict[str, Any]:
    """What outlives an evaluation, and the running one: O(classes) numbers and the lines that are kept of training."""
    metric = collector.metric
    if metric is None:
        return {}
    metric.flush()
    return {
        "classes": metric.num_classes,
        "blank": metric.blank,
        "totals": dict(collector._totals),
        "trivial": None if collector.trivial is None else asdict(collector.trivial),
        "zero_infinity": collector._zero_infinity,
        "per_token": collector._per_token,
        "checks": collector.checks.state(),
        "recent": metric.recent.cpu(),
        "running": _running(metric) if collector.stage == "train" else None,
    }


def _running(metric: CTCSignals) -> dict[str, Any]:
    return {
        "counts": metric.counts.cpu(),
        "reals": metric.reals.cpu(),
        "tokens": metric.tokens.cpu(),
        "seen": metric.waiting.lines,
        "calls": metric.waiting.calls,
        "kept": metric.kept.state(),
    }


def take_up_ctc(collector: CTCCollector, state: Mapping[str, Any], device: torch.device, *, carried: bool) -> None:
    """Go on where :func:`carried_ctc` stopped; ``collector`` has seen no call yet.

    Args:
        collector: of the resumed run.
        state: what was carried.
        device: where the training runs.
        carried: whether the running evaluation goes on; else only what outlives it is taken up.
    """
    if not state:
        return
    collector.take_shape(int(state["classes"]), int(state["blank"]))
    metric = collector.metric
    assert metric is not None
    metric.to(device)
    metric.recent = state["recent"]
    collector._totals = {name: int(n) for name, n in state["totals"].items()}
    collector.trivial = None if state["trivial"] is None else TrivialLoss(**state["trivial"])
    collector._zero_infinity, collector._per_token = state["zero_infinity"], bool(state["per_token"])
    collector.checks.take_up(state["checks"])
    running = state["running"] if carried else None
    if running is not None:
        for name in ("counts", "reals", "tokens"):
            setattr(metric, name, running[name].to(device, copy=True))
        metric.waiting.lines, metric.waiting.calls = int(running["seen"]), int(running["calls"])
        metric.kept.take_up(running["kept"])
