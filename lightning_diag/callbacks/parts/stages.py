"""Predictions and targets of both stages, counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lightning_diag.callbacks.collector import StageCollector, StepLosses
from lightning_diag.callbacks.loaders import loaders, real_samples
from lightning_diag.callbacks.messages import warn
from lightning_diag.callbacks.run import Part, Run
from lightning_diag.callbacks.standing import is_best
from lightning_diag.capture import StepCapture
from lightning_diag.history import CTCFacts, Outcomes


class StagePart(Part):
    """Installs the capture around the steps and turns each interval into counts."""

    title = "metrics"

    def __init__(self) -> None:
        self.capture: StepCapture | None = None
        self.collectors: dict[str, StageCollector] = {}
        self.losses = StepLosses()

    def fit_start(self, run: Run) -> None:
        """Wrap the steps of this module instance."""
        self.capture = StepCapture(run.module, extractor=run.options.extractor)
        self.capture.install()
        run.extra["capture"] = self.capture

    def batch_start(self, run: Run, stage: str, batch: Any, batch_idx: int) -> None:
        """The batch is read before the step can pop its target."""
        assert self.capture is not None
        self.capture.begin(_plain(stage), batch, batch_idx, _loader(stage))

    def batch_end(self, run: Run, stage: str, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Count what the step computed."""
        assert self.capture is not None
        observation = run.observation = self.capture.end(outputs)
        loss = _returned_loss(outputs)
        if stage == "train" and loss is not None:
            loss = loss * run.trainer.accumulate_grad_batches if run.trainer.accumulate_grad_batches > 1 else loss
            self.losses.add(loss)
        self._collector(run, stage).observe(observation, batch, loss)

    def train_start(self, run: Run) -> None:
        """All ranks make the same collective calls, so each has every collector, also without a batch."""
        if run.trainer.world_size > 1:
            for stage in ("train", *(_val(i) for i in range(len(run.trainer.num_val_batches)))):
                self._collector(run, stage)

    def validation_start(self, run: Run) -> None:
        """A new validation counts from zero, without the repeats of a distributed sampler."""
        for index, loader in enumerate(loaders(run.trainer.val_dataloaders)):
            self._collector(run, _val(index)).metrics.real_samples = real_samples(loader)
        for stage, collector in self.collectors.items():
            if stage != "train":
                collector.reset()

    def validation_epoch_end(self, run: Run) -> None:
        """Validation counts, in time for callbacks that monitor them."""
        for stage in [s for s in self.collectors if s != "train"]:
            self._take(run, stage)
        if not run.trainer.sanity_checking:
            self._compare_with_best(run)

    def interval_end(self, run: Run) -> None:
        """Training counts since the last interval."""
        train = self.collectors.get("train")
        if train is not None and (train.steps or run.trainer.world_size > 1):
            self._take(run, "train")
            train.reset()
            run.recorder.values(self.losses.read())
        self._facts(run)

    def fit_end(self, run: Run) -> None:
        """Facts that need the whole run."""
        self._facts(run, final=True)
        val = self.collectors.get("val")
        if val is not None:
            run.recorder.update(samples=val.samples())

    def close(self, run: Run) -> None:
        """Give the module its own steps back."""
        if self.capture is not None:
            self.capture.remove()

    # -- inner --------------------------------------------------------------------------------------------------

    def _collector(self, run: Run, stage: str) -> StageCollector:
        if stage not in self.collectors:
            self.collectors[stage] = StageCollector(stage, run.options, with_ctc="CTCBlankMonitor" in run.wanted)
        return self.collectors[stage]

    def _take(self, run: Run, stage: str) -> None:
        collector = self.collectors[stage]
        run.recorder.values(collector.values(*_reductions(run.trainer)))
        run.recorder.stage(stage, collector.record(complete=_is_complete(run.trainer, stage)))

    def _compare_with_best(self, run: Run) -> None:
        """Keep the per-sample memory of the best evaluation so far."""
        val = self.collectors.get("val")
        if val is not None and val.memory is not None:
            val.memory.settle(run.epoch, best=is_best(run))

    def _facts(self, run: Run, *, final: bool = False) -> None:
        context = run.recorder.context
        train = self.collectors.get("train") or next(iter(self.collectors.values()), None)
        if train is None or self.capture is None:
            return
        facts = tuple(self.capture.facts(stage) for stage in ("train", "val") if stage in self.collectors)
        changes: dict[str, Any] = {
            "task": train.task,
            "classes": train.classes,
            "capture": facts,
            "ctc": self._ctc_facts(final=final) or context.ctc,
            "class_names": self._names(run, train.classes),
        }
        if final:
            changes["outcomes"] = self._outcomes(run)
        if any(getattr(context, name) != value for name, value in changes.items()):
            run.recorder.update(**changes)

    def _outcomes(self, run: Run) -> tuple[Outcomes, ...]:
        """Which samples of the best evaluation were right; a process of several sees only its own."""
        if run.trainer.world_size > 1:
            return ()
        memories = [(stage, collector.memory) for stage, collector in self.collectors.items() if collector.memory]
        return tuple(found for stage, memory in memories if (found := memory.outcomes(stage)))

    def _ctc_facts(self, *, final: bool) -> CTCFacts | None:
        """Call checks come from training; what was decoded (and the mapping test) from validation, at the end."""
        found = {stage: c.ctc_facts() for stage, c in self.collectors.items() if final or stage == "train"}
        if not any(found.values()):
            return None
        from lightning_diag.metrics.ctc import merge_facts

        return merge_facts(found.get("train"), found.get("val"))

    def _names(self, run: Run, classes: int | None) -> tuple[str, ...]:
        names = run.recorder.context.class_names
        if names and classes and len(names) != classes:
            text = f"{len(names)} class names were given for {classes} classes; they are not used."
            run.recorder.note(text)
            warn(f"lightning_diag: {text}")
            return ()
        return names


def _val(index: int) -> str:
    return "val" if index == 0 else f"val:{index}"


def _plain(stage: str) -> str:
    return "train" if stage == "train" else "val"


def _loader(stage: str) -> int:
    return int(stage.partition(":")[2] or 0)


def _returned_loss(outputs: Any) -> Tensor | None:
    """The loss that a step returned, detached; None where it returned none."""
    loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
    if isinstance(loss, Tensor) and loss.numel() == 1 and loss.is_floating_point():
        return loss.detach()
    return None


def _is_complete(trainer: Any, stage: str) -> bool:
    """Whether no ``limit_*_batches`` cut the loader."""
    limit = trainer.limit_train_batches if stage == "train" else trainer.limit_val_batches
    return not trainer.overfit_batches and limit in (None, 1.0) and isinstance(limit, (float, type(None)))


def _reductions(trainer: Any) -> tuple[Callable[[Tensor], Tensor] | None, Callable[[Tensor], Tensor] | None]:
    """Sum and maximum over the ranks; (None, None) for one process."""
    if trainer.world_size == 1:
        return None, None

    def over_ranks(operation: Any) -> Callable[[Tensor], Tensor]:
        def reduce(vector: Tensor) -> Tensor:
            vector = vector.to(trainer.strategy.root_device)
            torch.distributed.all_reduce(vector, op=operation)
            return vector

        return reduce

    return over_ranks(torch.distributed.ReduceOp.SUM), over_ranks(torch.distributed.ReduceOp.MAX)
