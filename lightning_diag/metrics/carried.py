"""What a checkpoint in the middle of an epoch carries of the counts, as plain values and tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lightning_diag.metrics.classification import StageMetrics
from lightning_diag.metrics.memory import OUTCOMES, Evaluation, SampleMemory


def carried_counts(metrics: StageMetrics) -> dict[str, Any]:
    """The counts and sums so far, of the size of one reduction; without the per-sample memory."""
    metrics.flush()
    layout = metrics._layout  # noqa: SLF001  (same package; the metric's own file is long enough)
    return {
        "task": metrics.task,
        "classes": layout.classes,
        "guessed": metrics._guessed,  # noqa: SLF001  (as above)
        "groups": list(metrics.groups.names),
        "vector": metrics.packed()[: layout.counts + layout.sums].cpu(),
    }


def take_up_counts(metrics: StageMetrics, state: dict[str, Any]) -> None:
    """Go on counting where :func:`carried_counts` stopped; ``metrics`` has counted nothing yet.

    Raises:
        ValueError: when the counts are of another version's size.
    """
    metrics.task = state["task"]
    metrics._guessed = bool(state["guessed"])  # noqa: SLF001  (as above)
    metrics.groups.names = [str(name) for name in state["groups"]]
    metrics._grow(int(state["classes"]), metrics.task)  # noqa: SLF001  (as above)
    expected, vector = metrics._layout, state["vector"]  # noqa: SLF001  (as above)
    if vector.shape != (expected.counts + expected.sums,):
        raise ValueError(f"{tuple(vector.shape)} counts in the checkpoint, expected {expected.counts + expected.sums}")
    metrics.load_packed(vector)


def carried_memory(memory: SampleMemory) -> dict[str, Any]:
    """The best evaluation: one bit per sample, and its losses up to :data:`OUTCOMES` samples (800 kB)."""
    best = memory.best
    if best is None:
        return {}
    keeps = best.loss is not None and len(best.loss) <= OUTCOMES
    return {
        "epoch": best.epoch,
        "n": len(best.right),
        "right": torch.from_numpy(np.packbits(best.right)),
        "loss": torch.from_numpy(best.loss.copy()) if keeps and best.loss is not None else None,
        "fingerprint": best.fingerprint,
        "stride": best.stride,
    }


def take_up_memory(memory: SampleMemory, state: dict[str, Any]) -> None:
    """Compare coming evaluations with the best one of the run before."""
    if not state:
        return
    right = np.unpackbits(state["right"].numpy(), count=int(state["n"])).astype(np.bool_)
    loss = None if state["loss"] is None else state["loss"].numpy()
    memory.best = Evaluation(int(state["epoch"]), right, loss, int(state["fingerprint"]), int(state["stride"]))
