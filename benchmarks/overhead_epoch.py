"""What the end of an evaluation costs."""

from __future__ import annotations

import time

import numpy as np
import torch

from lightning_diag.metrics.classification import StageMetrics
from lightning_diag.metrics.memory import SampleMemory


def epoch_end(classes: int = 1_000, samples: int = 50_000) -> float:
    """Milliseconds from the last validation batch to the finished record, paired comparison included."""
    metrics, spent = StageMetrics(memory=SampleMemory()), []
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, classes, (samples,), generator=generator)
    for epoch in range(5):
        for target in targets.split(1_000):
            metrics.accumulate(torch.randn(len(target), classes), target, task="multiclass", kind="logits")
        since = time.perf_counter()
        metrics.result().to_record()
        metrics.memory.surest_mistakes()
        metrics.memory.settle(epoch, best=True)
        metrics.reset()
        spent.append(time.perf_counter() - since)
    return float(np.median(spent)) * 1e3
