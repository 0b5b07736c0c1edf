"""An error while a step is read costs what it must and no more, and the user is told."""

import gc
import warnings
import weakref

import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader
from toys import Toy, blobs, fit, loader

from lightning_diag import ClassCollapseDetector, GapMonitor
from lightning_diag.capture import stage as stages
from lightning_diag.capture.faults import MAX_FAULTS
from lightning_diag.store import read_history

OURS = "lightning_diag: "


def pair(step):
    return step.module(step.batch[0]).detach(), step.batch[1]


class Plain(Toy):
    """Without layers that the extractor's own forward would disturb."""

    def forward(self, x):
        return self.head(self.encoder[0](x))

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])


def observed(tmp_path, extractor=None, module=None, epochs=6, **options):
    """The record and our warnings of a fit."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fit(
            tmp_path,
            [GapMonitor(dirpath=tmp_path, extractor=extractor), ClassCollapseDetector()],
            module or Plain(),
            epochs=epochs,
            **options,
        )
    return read_history(tmp_path / "history.jsonl"), [str(w.message) for w in told if OURS in str(w.message)]


def test_an_extractor_that_fails_on_odd_batches_is_asked_about_all_others(tmp_path):
    asked = []

    def extractor(step):
        asked.append(step.stage)
        if len(asked) in (10, 20, 30):
            raise KeyError("odd batch")
        return pair(step)

    history, told = observed(tmp_path, extractor)
    assert len(asked) == 6 * (6 + 4)
    last = history.epochs[-1].stages
    assert (last["train"].n, last["val"].n) == (60, 31)
    whole = {epoch.epoch: (epoch.stages["val"].n, epoch.stages["val"].complete) for epoch in history.epochs}
    assert {n == 31 for n, complete in whole.values() if complete} == {True}
    assert {n == 31 for n, complete in whole.values() if not complete} == {False}
    assert len(told) == 1
    assert "Traceback" in told[0]
    assert "odd batch" in told[0]
    assert sum("odd batch" in note for note in history.context.notes) == 1
    told_of = {facts.stage: facts.source for facts in history.context.capture}
    assert "the extractor failed" in told_of["val"]


def test_an_extractor_that_always_fails_is_named_in_the_report(tmp_path):
    history, told = observed(tmp_path, lambda step: step.outputs["logits"], epochs=2)
    assert len(told) == 1
    assert {facts.stage for facts in history.context.capture if "the extractor failed" in facts.problem} == {
        "train",
        "val",
    }
    assert "The extractor failed" in (tmp_path / "diagnosis.md").read_text(encoding="utf-8")
    assert history.epochs[-1].values["train/loss"] > 0  # the checks of the loss go on


def test_errors_of_ours_in_a_row_end_one_stage_and_that_is_said(tmp_path, monkeypatch):
    real = stages.Stage.observe

    def observe(self, *args):
        return 1 / 0 if self.name == "val" else real(self, *args)

    monkeypatch.setattr(stages.Stage, "observe", observe)
    history, told = observed(tmp_path, epochs=3)
    assert len(told) == 2
    assert "ZeroDivisionError" in told[0]
    assert "val are no longer read" in told[1]
    assert f"failed {MAX_FAULTS} times" in next(f.problem for f in history.context.capture if f.stage == "val")
    assert history.epochs[-1].stages["train"].n == 60
    assert history.epochs[-1].values["val/loss"] > 0  # of what the step returned


def test_errors_of_ours_now_and_then_end_nothing(tmp_path, monkeypatch):
    real, calls = stages.Stage.observe, []

    def observe(self, *args):
        calls.append(self.name)
        return 1 / 0 if self.name == "val" and len(calls) % 4 == 0 else real(self, *args)

    monkeypatch.setattr(stages.Stage, "observe", observe)
    monkeypatch.setattr(stages.Stage, "again", lambda *_: None)
    history, told = observed(tmp_path, epochs=6)
    assert len(told) == 1
    assert 0 < history.epochs[-1].stages["val"].n < 31


@pytest.mark.parametrize("depth", [1, 2])
def test_an_error_keeps_no_tensor_alive(tmp_path, depth):
    kept, alive = [], []

    def extractor(step):
        gc.collect()
        alive.append(sum(ref() is not None for ref in kept))
        logits = torch.ones(3)
        kept.append(weakref.ref(logits))
        if depth == 1:
            return step.batch["first"]
        try:
            return {}["first"], logits
        except KeyError as error:
            raise ValueError("second") from error

    observed(tmp_path, extractor, epochs=1)
    assert alive == [0] * 10


class TwoLoaders(Plain):
    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        if dataloader_idx == 0:
            return F.cross_entropy(self(batch[0]), batch[1])
        self.log("size", self(batch).abs().mean())
        return None


def test_a_second_loader_that_cannot_be_read_is_named(tmp_path):
    history, _ = observed(tmp_path, module=TwoLoaders(), epochs=2, val=[loader(31, 2), DataLoader(blobs(31)[0], 10)])
    assert [facts.stage for facts in history.context.capture] == ["train", "val", "val:1"]
    assert "no class labels" in history.context.capture[2].problem
