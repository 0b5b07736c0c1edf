"""LD705: batch normalisation over a handful of samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
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

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        model, split = history.context.model, history.context.data.train
        if not model.batch_norm or not split.batch_size or split.batch_size > self.batch:
            return None
        if model.train_mode_ok is not None and model.train_mode_ok.n and model.train_mode_ok.k == 0:
            return None  # its statistics are frozen, so that the batch does not matter
        text = f"batch normalisation with {split.batch_size} samples per batch"
        evidence = [
            Evidence(
                signal="data.train.batch_size", text=text, observed=float(split.batch_size), expected=float(self.batch)
            )
        ]
        running, probe = history.series("train/loss").finite, history.series("probe/train_loss").finite
        if len(running) and len(probe):
            differ = f"loss of the training set {number(running.values[-1])} with batch statistics, {number(probe.values[-1])} with running ones"
            evidence.append(
                Evidence(signal="probe/train_loss", text=differ, observed=probe.values[-1], expected=running.values[-1])
            )
        return self.finding(
            severity="warning" if split.batch_size <= self.serious else "info",
            confidence=0.85,
            claim="likely",
            title=f"Batch normalisation over {split.batch_size} samples",
            summary=f"Batch statistics are guesses: {text}.",
            evidence=tuple(evidence),
            why=f"A mean over {split.batch_size} samples strays by {percent(split.batch_size**-0.5)} of the spread: training and evaluation see different networks.",
            actions=(
                "GroupNorm or LayerNorm",
                "a larger batch; accumulate_grad_batches does not help batch normalisation",
                "SyncBatchNorm over several devices, or frozen statistics when fine-tuning",
            ),
            next_test="compare the loss of one training batch in train() and eval() mode: they should agree within a few per cent",
            scope="train",
            explains=("LD104", "LD102") if split.batch_size <= self.serious else (),
        )
