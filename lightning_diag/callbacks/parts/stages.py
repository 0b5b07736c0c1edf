"""Predictions and targets of both stages, counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from lightning_diag.callbacks.carried import stage_state, take_up_stage
from lightning_diag.callbacks.collector import StageCollector
from lightning_diag.callbacks.loaders import first_loader, loaders, padding, places
from lightning_diag.callbacks.parts.stage_facts import record_facts, share_read, tell_faults
from lightning_diag.callbacks.ranks import allows_empty_loaders, reductions
from lightning_diag.callbacks.run import Part, Run
from lightning_diag.callbacks.short_way import ShortWay, returned_loss
from lightning_diag.callbacks.standing import is_best
from lightning_diag.callbacks.step_losses import StepLosses
from lightning_diag.capture import StepCapture
from lightning_diag.capture.observation import Again, Observation


class StagePart(Part):
    """Installs the capture around the steps and turns each interval into counts."""

    title = "metrics"
    collective = ("train_start", "validation_epoch_end", "interval_end")

    def __init__(self) -> None:
        self.capture: StepCapture | None = None
        self.collectors: dict[str, StageCollector] = {}
        self.losses = StepLosses()
        self._saved: dict[str, Any] = {}
        self._met = 0  # collective calls that the running hook has made

    def fit_start(self, run: Run) -> None:
        """Wrap the steps of this module instance."""
        progress = run.trainer.fit_loop.epoch_loop.batch_progress
        self.capture = StepCapture(
            run.module,
            extractor=run.options.extractor,
            consumer=run.step_done,
            position=lambda: int(progress.total.ready),
        )
        self.capture.install()

    def batch_start(self, run: Run, stage: str, batch: Any, batch_idx: int) -> bool:
        """Announce a validation batch; a training batch announces itself when its step is called."""
        if stage == "train" or self.capture is None:
            return False
        self.capture.begin("val", batch, batch_idx, _loader(stage))
        return True

    def batch_end(self, run: Run, stage: str, result: Any, batch: Any, batch_idx: int | None) -> None:
        """Count what the step computed."""
        seen = run.observation
        loss = seen.loss if seen is not None and seen.returned else returned_loss(result)
        if stage == "train" and loss is not None:
            self.losses.add(loss)
        self._collector(run, stage).observe(seen, batch, loss)
        if seen is None and self.capture is not None and self.capture.faults.first is not None:
            tell_faults(run, self.capture)
        if stage == "train" and seen is not None and seen.form is not None:
            run.again = self._again(run, seen)

    def _again(self, run: Run, seen: Observation) -> Again | None:
        """Count training steps like the last one with nothing in between."""
        collector, hear = self.collectors["train"], self.losses.extend if seen.returned else None
        short = collector.expecting(seen, hear)
        if short is None:
            return None
        count, keep = short
        return ShortWay(run, collector, self.losses, returned=seen.returned, count=count, keep=keep)

    def train_start(self, run: Run) -> None:
        """All ranks make the same collective calls, so each has every collector, also without a batch."""
        if self._saved:
            self._take_up(run)
        if run.processes > 1:
            self._collector(run, "train")
            self._agree_on_validation(run)
        self._met = 0

    def epoch_start(self, run: Run) -> None:
        """The training loader starts from its beginning."""
        found = loaders(run.trainer.train_dataloader)
        train = self._collector(run, "train")
        train.metrics.padding = padding(found[0]) if len(found) == 1 else None
        before = run.trainer.fit_loop.epoch_loop.batch_progress.total.ready
        train.expect_batches(run.trainer.num_training_batches, before=before)
        for stage in self._validations(run) if run.late else ():
            self.collectors[stage].reset()

    def validation_start(self, run: Run) -> None:
        """A new validation counts from zero, without the repeats of a distributed sampler."""
        for index, loader in enumerate(loaders(run.trainer.val_dataloaders)):
            self._collector(run, _val(index)).metrics.padding = padding(loader)
        for stage in self._validations(run):
            self.collectors[stage].reset()

    def validation_epoch_end(self, run: Run) -> None:
        """Validation counts, in time for callbacks that monitor them."""
        if not run.late:
            self._take(run, self._validations(run))
            if not run.trainer.sanity_checking:
                self._compare_with_best(run)
        self._met = 0

    def interval_end(self, run: Run) -> None:
        """Training counts since the last interval."""
        train = self.collectors.get("train")
        if run.late:
            self._take(run, self._validations(run))
            if "val" in run.recorder.running_stages:
                self._compare_with_best(run)
        if train is not None and (train.steps or run.processes > 1):
            self._take(run, ["train"])
            train.reset()
            run.recorder.values(self.losses.read())
        if self.capture is not None:
            record_facts(run, self.capture, self.collectors, final=False)
        self._met = 0

    def take_part(self, run: Run, hook: str) -> None:
        """Send nothing but the news of the fault."""
        if hook == "train_start":
            if not self._met:
                self._agree_on_validation(run)
            self._met = 0
            return
        stages = self._validations(run) if run.late == (hook == "interval_end") else []
        todo = [*stages, "train"] if hook == "interval_end" else stages
        met, self._met = self._met, 0
        for stage in todo[met:]:
            self._collector(run, stage).sum_up(*reductions(run.trainer), failed=True)

    def fit_end(self, run: Run) -> None:
        """Facts that need the whole run."""
        if self.capture is not None:
            record_facts(run, self.capture, self.collectors, final=True)
        val = self.collectors.get("val")
        if val is not None:
            place = places(first_loader(run.trainer.val_dataloaders))
            run.recorder.update(samples=tuple(replace(s, index=place(s.index)) for s in val.samples()))
        train = self.collectors.get("train")
        if train is not None and (note := share_read(train)):
            run.recorder.note(note)

    def state_dict(self, run: Run) -> dict[str, Any]:
        """Counts of the open interval and the best evaluation; with several processes each knows only its share."""
        stages = {} if run.processes > 1 else {name: stage_state(c) for name, c in self.collectors.items()}
        return {
            "batches": run.batches,
            "losses": self.losses.state(),
            "stages": {name: state for name, state in stages.items() if state},
        }

    def load_state_dict(self, run: Run, state: dict[str, Any]) -> None:
        """Keep it until it is known whether the interval goes on."""
        self._saved = state

    def close(self, run: Run) -> None:
        """Give the module its own steps back."""
        if self.capture is not None:
            self.capture.remove()

    # -- inner --------------------------------------------------------------------------------------------------

    def _take_up(self, run: Run) -> None:
        saved, self._saved = self._saved, {}
        run.carried &= saved["batches"] == saved["stages"].get("train", {}).get("steps", 0)
        self.losses.take_up(saved["losses"], carried=run.carried)
        for stage, state in saved["stages"].items():
            if run.processes == 1:
                take_up_stage(self._collector(run, stage), state, run.module.device, carried=run.carried)

    def _collector(self, run: Run, stage: str) -> StageCollector:
        if stage not in self.collectors:
            self.collectors[stage] = StageCollector(stage, run.options, with_ctc="CTCBlankMonitor" in run.wanted)
        return self.collectors[stage]

    def _validations(self, run: Run) -> list[str]:
        """Validation stages; every process has a collector for each, also where Lightning called no hook."""
        if run.processes > 1:
            for index in range(len(loaders(run.trainer.val_dataloaders))):
                self._collector(run, _val(index))
        return [stage for stage in self.collectors if stage != "train"]

    def _agree_on_validation(self, run: Run) -> None:
        """Where the user allows empty loaders, Lightning leaves validation out on a process whose loaders are empty.

        Then all meet at the end of the epoch. So they do where the loaders are not known yet (the first validation is
        epochs away).
        """
        if not allows_empty_loaders(run.trainer):
            return
        self._met += 1
        reduce_sum, _ = reductions(run.trainer)
        batches = run.trainer.num_val_batches
        has_some = float(not batches or sum(batches) > 0)
        validating, unknown, all_of_them = reduce_sum(torch.tensor([has_some, float(not batches), 1.0])).tolist()
        run.late = validating < all_of_them or unknown > 0
        if run.late:
            run.recorder.note(
                "A process may have no validation batches: all wait for each other at the end of the epoch, so there is "
                "one record per epoch, and diag/val_* values come too late for callbacks that look at the end of the validation."
            )

    def _take(self, run: Run, stages: Sequence[str]) -> None:
        """Put the counts of ``stages`` into the record; first all that the processes do together."""
        collectors = {stage: self.collectors[stage] for stage in stages}
        if run.processes > 1:
            for collector in collectors.values():
                self._met += 1
                collector.sum_up(*reductions(run.trainer))
        values = {stage: collector.values() for stage, collector in collectors.items()}
        for stage, collector in collectors.items():
            record = collector.record(complete=collector.complete and _is_complete(run.trainer, stage))
            if run.late and stage != "train" and not record.n and not values[stage]:
                continue  # no validation in this epoch
            run.recorder.values(values[stage])
            run.recorder.stage(stage, record)

    def _compare_with_best(self, run: Run) -> None:
        """Keep the per-sample memory of the best evaluation so far."""
        val = self.collectors.get("val")
        if val is not None and val.memory is not None:
            val.memory.settle(run.epoch, best=is_best(run))


def _val(index: int) -> str:
    return "val" if index == 0 else f"val:{index}"


def _loader(stage: str) -> int:
    return int(stage.partition(":")[2] or 0)


def _is_complete(trainer: Any, stage: str) -> bool:
    """Whether no ``limit_*_batches`` cut the loader."""
    limit = trainer.limit_train_batches if stage == "train" else trainer.limit_val_batches
    return not trainer.overfit_batches and limit in (None, 1.0) and isinstance(limit, (float, type(None)))
