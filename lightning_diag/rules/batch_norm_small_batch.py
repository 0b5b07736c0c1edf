"""LD705: batch normalisation over a handful of samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.reading import late
from lightning_diag.words import number, percent


@dataclass(frozen=True, kw_only=True)
class BatchNormSmallBatch(Rule):
    """Batch normalisation takes its statistics from very few samples."""

    code: ClassVar[str] = "LD705"
    name: ClassVar[str] = "batch-norm-small-batch"
    needs: ClassVar[tuple[str, ...]] = ("model.batch_norm", "data.train.batch_size")

    batch: int = 4
    """Samples per batch. The error of group statistics grows as 1/sqrt(batch): half of the spread at 4. Wu and He (Group
    Normalization, 2018) measured the error of batch normalisation rising steeply below 8 and unusable at 2."""
    serious: int = 2
    """Samples per batch from which it is a warning. Their error on ImageNet is 23.6 % with 32 samples, 27.3 % with 4, which
    a run may live with (``info``), and 34.7 % with 2."""
    agree: float = 0.1
    """Part of the training loss by which batch and running statistics may differ where they do no harm: the two losses are
    also of different samples, and of weights half an epoch apart."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        model, size = history.context.model, history.context.data.train.batch_size
        devices = (history.context.devices or 1) if model.sync_batch_norm else 1
        if not model.batch_norm or not size or size * devices > self.batch:
            return None
        if model.train_mode_ok is not None and model.train_mode_ok.n and model.train_mode_ok.k == 0:
            return None  # its statistics are frozen, so that the batch does not matter
        size *= devices
        text = f"batch normalisation with {size} samples per batch" + (" over all devices" if devices > 1 else "")
        evidence = [
            Evidence(signal="data.train.batch_size", text=text, observed=float(size), expected=float(self.batch))
        ]
        apart, agree = _both_losses(history), False
        if apart is not None:
            running, probe = apart
            agree = abs(running - probe) <= self.agree * max(abs(running), abs(probe))
            beside = ", which is about the same" if agree else ""
            text = f"loss of the training set {number(running)} with batch statistics, {number(probe)} with running ones{beside}"
            evidence.append(Evidence(signal="probe/train_loss", text=text, observed=probe, expected=running))
        serious = size <= self.serious and not agree
        return self.finding(
            severity="warning" if serious else "info",
            confidence=0.85 if serious else 0.6,
            claim="likely",
            title=f"Batch normalisation over {size} samples",
            summary=f"Batch statistics are guesses: {evidence[0].text}.",
            evidence=tuple(evidence),
            why=f"A mean over {size} samples strays by {percent(size**-0.5)} of the spread: training and evaluation see different networks.",
            actions=(
                "GroupNorm or LayerNorm",
                "a larger batch; accumulate_grad_batches does not help batch normalisation",
                "SyncBatchNorm over several devices, or frozen statistics when fine-tuning",
            ),
            next_test="compare the loss of one training batch in train() and eval() mode: they should agree within a few per cent",
            scope="train",
            explains=("LD104", "LD102") if serious else (),
        )


def _both_losses(history: RunHistory) -> tuple[float, float] | None:
    """(running, probe) training loss, the medians of the last epochs that have both."""
    running, probe = dict(history.series("train/loss").finite), dict(history.series("probe/train_loss").finite)
    both = [epoch for epoch in running if epoch in probe]
    return (late([running[e] for e in both]), late([probe[e] for e in both])) if both else None
