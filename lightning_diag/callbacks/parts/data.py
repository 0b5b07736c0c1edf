"""What the batches of both splits look like, and how the splits relate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lightning_diag.callbacks.loaders import first_loader
from lightning_diag.callbacks.run import Part, Run
from lightning_diag.history import DataFacts
from lightning_diag.signals.data import DataSignals
from lightning_diag.signals.labels import class_counts

LONG_EPOCH = 30.0
"""Seconds. The comparison of the splits takes up to 0.3 s; after a first epoch this long it is made at once."""
_EVERY_SAMPLE_ONCE = ("RandomSampler", "SequentialSampler", "DistributedSampler")


class DataPart(Part):
    """Watches batches as they pass by; after the first epoch hardly any is looked at."""

    title = "data"

    def __init__(self) -> None:
        self.signals = DataSignals()
        self._binary = False

    def epoch_start(self, run: Run) -> None:
        """A training epoch begins."""
        self.signals.start_epoch("train")

    def validation_start(self, run: Run) -> None:
        """A validation begins."""
        self.signals.start_epoch("val")

    def batch_end(self, run: Run, stage: str, result: Any, batch: Any, batch_idx: int | None) -> bool | None:
        """Look at the batch; further validation loaders are not compared."""
        if stage not in ("train", "val") or (stage == "val" and run.trainer.sanity_checking):
            return None
        seen = run.observation
        target, binary = (None, False) if seen is None else (seen.target, seen.task == "binary")
        self._binary = binary if stage == "train" else self._binary
        return self.signals.batch(stage, batch, target, binary=binary)

    def along(self, run: Run, batch: Any, target: Any) -> bool:
        """Look at a training batch like the one before."""
        return self.signals.batch("train", batch, target, binary=self._binary)

    def interval_end(self, run: Run) -> None:
        """Signals of the epoch; the facts at once where the epoch was long."""
        values = self.signals.finish_epoch()
        if run.recorder.pending:
            run.recorder.values(values)
        if not run.recorder.epochs and run.recorder.running_values.get("time/epoch", 0.0) > LONG_EPOCH:
            run.recorder.update(data=self._facts(run))

    def fit_end(self, run: Run) -> None:
        """Compare the splits once."""
        run.recorder.update(data=self._facts(run))

    def _facts(self, run: Run) -> DataFacts:
        facts = self.signals.facts(run.recorder.context.data)
        if run.processes > 1:
            facts = _of_a_share(facts, class_counts(_dataset(run.trainer.val_dataloaders)))
        counts = class_counts(_dataset(run.trainer.train_dataloader))
        if not counts and facts.train.sampler in _EVERY_SAMPLE_ONCE and not facts.train.redrawn:
            counts = facts.train.drawn_counts
        return replace(facts, train=replace(facts.train, class_counts=facts.train.class_counts or counts))


def _dataset(collection: Any) -> Any:
    return getattr(first_loader(collection), "dataset", None)


def _of_a_share(facts: DataFacts, val_counts: tuple[int, ...]) -> DataFacts:
    """Without what the batches of one process of several cannot say; ``val_counts`` are those of the whole data set.

    A class that it does not meet may be with another one (the counts of an evaluation are sums over all), and samples
    that are new to it in the second epoch were seen elsewhere in the first.
    """
    train, val = facts.train, facts.val
    return replace(
        facts,
        train=replace(train, drawn_counts=(), augmented=None),
        val=replace(val, drawn_counts=(), class_counts=val_counts),
    )
