"""A resumed run has the record of the uninterrupted one, wherever it was stopped and however it goes on."""

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from processes import in_own_process
from torch.utils.data import DataLoader, TensorDataset
from toys import StatefulLoader, Toy, loader, trainer

import lightning_diag
from lightning_diag import all_callbacks, diagnosis_of
from lightning_diag.store import read_history

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
]

NOT_CARRIED = ("time/", "probe/", "update/ratio", "batch/purity", "loss/first", "lr/first")
"""Clocks, and what needs the weights or batches of before the resume; a torn interval does not have the last but one.

A resumed fit has a first step of its own."""


class SaveAt(Checkpoint):
    """Writes one checkpoint, by hook and number of optimiser steps."""

    def __init__(self, path, hook, step):
        self.path, self.hook, self.step = path, hook, step

    def _save(self, hook, trainer):
        if (hook, trainer.global_step) == (self.hook, self.step) and not self.path.exists():
            trainer.save_checkpoint(self.path)

    def on_train_batch_end(self, trainer, *_):
        self._save("batch", trainer)

    def on_validation_end(self, trainer, *_):
        self._save("validation", trainer)

    def on_train_epoch_end(self, trainer, *_):
        self._save("epoch", trainer)

    def on_train_end(self, trainer, *_):
        self._save("end", trainer)


def train(folder, *more, resume=None, epochs=3, data=StatefulLoader, callbacks=all_callbacks, **settings):
    torch.manual_seed(0)
    observers = callbacks()
    run = trainer(
        folder,
        [*observers, *more],
        epochs=epochs,
        enable_checkpointing=any(isinstance(c, Checkpoint) for c in more),
        **settings,
    )
    run.fit(Toy(), data(), loader(31, 2), ckpt_path=resume)
    return run


def comparable(record, *left_out):
    values = {name: v for name, v in record.values.items() if not name.startswith((*NOT_CARRIED, *left_out))}
    events = [event for event in record.events if event.kind not in ("start", "resume")]
    return record.epoch, record.step, record.lrs, record.stages, values, events


def assert_same(resumed, whole, where=None):
    found, expected = diagnosis_of(resumed).history, diagnosis_of(whole).history
    for mine, theirs in zip(map(comparable, found.epochs), map(comparable, expected.epochs), strict=True):
        for one, other in zip(mine, theirs, strict=True):
            assert one == other, where
    assert found.context.notes == ()


PLACES = [
    *[("batch", step) for step in range(1, 18) if step % 6],
    *[(hook, step) for step in (6, 12, 18) for hook in ("validation", "epoch")],
    ("end", 18),
]


SHAPES = {
    "one validation per epoch": ({}, PLACES),
    "two": (
        {"val_check_interval": 0.5},
        [("batch", 2), ("validation", 3), ("batch", 8), ("validation", 9), ("epoch", 6)],
    ),
    "accumulation": ({"accumulate_grad_batches": 2}, [("batch", 1), ("batch", 5), ("validation", 3), ("epoch", 6)]),
    "every second": ({"check_val_every_n_epoch": 2}, [("batch", 8), ("validation", 12), ("epoch", 6), ("epoch", 12)]),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_stopping_anywhere_and_resuming_gives_the_record_of_the_uninterrupted_run(tmp_path, shape):
    shape, places = SHAPES[shape]
    whole = train(tmp_path / "whole", **shape)
    for hook, step in places:
        path = tmp_path / f"{hook}{step}.ckpt"
        saver = SaveAt(path, hook, step)
        train(tmp_path / "first", saver, **shape)
        assert path.exists(), (hook, step)
        again = train(tmp_path / f"{hook}{step}", SaveAt(path.with_suffix(".same"), hook, step), resume=path, **shape)
        assert_same(again, whole, (hook, step))


class LineLoader(StatefulLoader):
    """Lines of 14 frames of noise and three to five tokens."""

    def __init__(self, n=60, seed=1):
        super().__init__(n, seed)
        generator = torch.Generator().manual_seed(seed)
        tokens, frames = (
            torch.randint(3, 6, (n,), generator=generator),
            torch.randint(11, 15, (n,), generator=generator),
        )
        lines, labels = (n, 14, 4), torch.randint(1, 6, (n, 5), generator=generator)
        self.dataset = TensorDataset(torch.randn(lines, generator=generator), labels, frames, tokens)


class Reader(LightningModule):
    """Learns lines by heart."""

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(4, 6)

    def training_step(self, batch, batch_idx):
        x, labels, frames, tokens = batch
        return torch.nn.functional.ctc_loss(self.net(x).log_softmax(-1).transpose(0, 1), labels, frames, tokens)

    validation_step = training_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def read_lines(folder, *more, resume=None, data=LineLoader):
    torch.manual_seed(0)
    run = trainer(folder, [*all_callbacks(), *more], epochs=14, enable_checkpointing=bool(more))
    run.fit(Reader(), data(), DataLoader(LineLoader(20, 2).dataset, 10), ckpt_path=resume)
    return run


def test_ctc_goes_on_as_if_it_had_not_been_stopped(tmp_path):
    """Also what outlives an epoch: the trivial loss of the first one, the losses of the last 75 steps, the call checks."""
    whole = read_lines(tmp_path / "whole")
    last = diagnosis_of(whole).history.epochs[-1].values
    assert {"ctc/train/ter", "ctc/val/ter", "ctc/train/loss_ratio", "ctc/train/loss_fall_50"} <= set(last)
    for hook, step in [*[("batch", step) for step in (1, 8, 9, 11, 50, 77)], ("validation", 12), ("epoch", 18)]:
        path = tmp_path / f"{hook}{step}.ckpt"
        read_lines(tmp_path / "first", SaveAt(path, hook, step))
        again = read_lines(tmp_path / f"{hook}{step}", SaveAt(path.with_suffix(".same"), hook, step), resume=path)
        found, expected = diagnosis_of(again).history, diagnosis_of(whole).history
        assert found.context.notes == ()
        assert found.context.ctc == expected.context.ctc
        for mine, theirs in zip(map(comparable, found.epochs), map(comparable, expected.epochs), strict=True):
            assert mine[:4] == theirs[:4]
            assert mine[4] == pytest.approx(theirs[4], rel=1e-5, abs=1e-7), (hook, step)  # (sums of float32)
            assert mine[5] == theirs[5]


def test_a_torn_epoch_of_ctc_without_a_stateful_loader_is_marked(tmp_path):
    def plain():
        return DataLoader(LineLoader().dataset, 10)

    read_lines(tmp_path / "first", SaveAt(tmp_path / "mid.ckpt", "batch", 9), data=plain)
    resumed = read_lines(tmp_path / "rest", resume=tmp_path / "mid.ckpt", data=plain)
    whole = read_lines(tmp_path / "whole", data=plain)
    found, expected = diagnosis_of(resumed).history, diagnosis_of(whole).history
    marked = [r.epoch for r in found.epochs if any(event.kind == "partial" for event in r.events)]
    assert marked == [1]
    assert found.context.ctc.trivial_loss == expected.context.ctc.trivial_loss  # of the first epoch, in either run


def test_an_epoch_whose_last_batch_wrote_the_checkpoint_keeps_its_training(tmp_path):
    """Lightning goes on with the next epoch then, and leaves the validation out."""
    whole = train(tmp_path / "whole")
    train(tmp_path / "first", SaveAt(tmp_path / "last.ckpt", "batch", 6))
    resumed = train(tmp_path / "rest", resume=tmp_path / "last.ckpt")
    found, expected = diagnosis_of(resumed).history.epochs, diagnosis_of(whole).history.epochs
    assert [r.epoch for r in found] == [0, 1, 2]
    assert set(found[0].stages) == {"train"}
    assert found[0].stages["train"] == expected[0].stages["train"]
    assert found[0].values["train/loss"] == expected[0].values["train/loss"]
    assert [r.stages["train"] for r in found[1:]] == [r.stages["train"] for r in expected[1:]]


def test_without_a_stateful_loader_the_torn_epoch_is_marked(tmp_path):
    plain = {"data": lambda: loader(60, 1, shuffle=True)}
    train(tmp_path / "first", SaveAt(tmp_path / "mid.ckpt", "batch", 9), **plain)
    resumed = train(tmp_path / "rest", resume=tmp_path / "mid.ckpt", **plain)
    records = diagnosis_of(resumed).history.epochs
    assert [[e.kind for e in r.events if e.kind == "partial"] for r in records] == [[], ["partial"], []]
    assert [r.stages["train"].n for r in records] == [60, 30, 60]
    assert "partial" in (tmp_path / "rest" / "diagnosis.md").read_text()


@pytest.mark.parametrize("hook", ["batch", "epoch"])
def test_a_checkpoint_written_without_the_callbacks(tmp_path, hook):
    step = 9 if hook == "batch" else 12
    train(tmp_path / "first", SaveAt(tmp_path / "bare.ckpt", hook, step), callbacks=list)
    resumed = train(tmp_path / "rest", resume=tmp_path / "bare.ckpt")
    history = diagnosis_of(resumed).history
    partial = [[e.kind for e in r.events if e.kind == "partial"] for r in history.epochs]
    if hook == "batch":
        assert [(r.epoch, r.stages["train"].n) for r in history.epochs] == [(1, 30), (2, 60)]
        assert partial == [["partial"], []]
    else:
        assert [(r.epoch, r.stages["train"].n) for r in history.epochs] == [(2, 60)]
        assert partial == [[]]
    assert history.context.resumed_epoch == history.epochs[0].epoch
    assert history.context.notes == ()


def test_a_resumed_run_takes_its_own_arguments_and_callbacks(tmp_path):
    train(tmp_path / "first", SaveAt(tmp_path / "mid.ckpt", "epoch", 12))

    def others():
        return [lightning_diag.GapMonitor(thresholds={"LD201": {"rise": 0.5}}, class_names=("a", "b", "c"))]

    resumed = train(tmp_path / "rest", resume=tmp_path / "mid.ckpt", callbacks=others)
    found = diagnosis_of(resumed)
    assert [r.epoch for r in found.history.epochs] == [0, 1, 2]
    assert found.history.context.class_names == ("a", "b", "c")
    assert "GapMonitor" in found.history.context.settings["callbacks"]
    assert "AdaptiveEarlyStop" not in found.history.context.settings["callbacks"]
    assert found.history.context.notes == ()


def test_a_checkpoint_of_an_exception_carries_the_record(tmp_path):
    class Fails(Toy):
        def training_step(self, batch, batch_idx):
            if self.current_epoch == 1 and batch_idx == 3 and self.fails:
                raise ZeroDivisionError
            return super().training_step(batch, batch_idx)

    def run(folder, fails, **more):
        torch.manual_seed(0)
        module = Fails()
        module.fails = fails
        keep = ModelCheckpoint(folder, filename="last", save_on_exception=True, enable_version_counter=False)
        made = trainer(folder, [*all_callbacks(), keep], epochs=3, enable_checkpointing=True)
        made.fit(module, StatefulLoader(), loader(31, 2), **more)
        return made

    with pytest.raises(ZeroDivisionError):
        run(tmp_path / "first", fails=True)
    resumed = run(tmp_path / "rest", fails=False, ckpt_path=tmp_path / "first" / "last.ckpt")
    records = diagnosis_of(resumed).history.epochs
    assert [r.epoch for r in records] == [0, 1, 2]
    # the loader had handed out the batch of the step that failed; Lightning does not ask for it again
    assert [r.stages["train"].n for r in records] in ([60, 60, 60], [60, 50, 60])


def test_the_best_weights_of_before_are_put_back(tmp_path):
    """The run gets worse after the resume; what was best before is restored at its end."""

    def stopper():
        return [lightning_diag.AdaptiveEarlyStop(restore_best=True, dry_run=True)]

    class Worse(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 2:
                torch.nn.init.zeros_(pl_module.head.weight)
                trainer.optimizers[0].param_groups[0]["lr"] = 0.0

    train(tmp_path / "first", SaveAt(tmp_path / "mid.ckpt", "epoch", 12), epochs=2, callbacks=stopper)
    best = torch.load(tmp_path / "first" / "best-weights.pt", weights_only=True)
    resumed = train(tmp_path / "rest", Worse(), resume=tmp_path / "mid.ckpt", callbacks=stopper)
    torch.testing.assert_close(dict(resumed.lightning_module.state_dict()), dict(best), rtol=0, atol=0)


def test_what_a_checkpoint_carries_is_plain_and_small(tmp_path):
    path = tmp_path / "mid.ckpt"
    train(tmp_path / "first", SaveAt(path, "batch", 3))
    state = torch.load(path, weights_only=True)["callbacks"]["lightning_diag"]
    assert state["parts"]["metrics"]["stages"]["train"]["steps"] == 3
    train(tmp_path / "bare", SaveAt(tmp_path / "bare.ckpt", "batch", 3), callbacks=list)
    assert path.stat().st_size - (tmp_path / "bare.ckpt").stat().st_size < 20_000


class Still(Toy):
    """Weights stand still and nothing depends on the batch, so that counts are comparable whatever the order."""

    def __init__(self):
        super().__init__(lr=0.0)
        self.encoder[1] = torch.nn.Identity()


def still(folder, processes, epochs, *resume):
    keep = ModelCheckpoint(folder, every_n_train_steps=0 if resume else 3, filename="{step}", save_top_k=-1)
    extra = {"strategy": "ddp_fork", "devices": processes} if processes > 1 else {}
    torch.manual_seed(0)
    run = trainer(folder, [*all_callbacks(dirpath=folder), keep], epochs=epochs, enable_checkpointing=True, **extra)
    val = loader(31, 2, batch_size=5)
    run.fit(Still(), loader(60, 1, batch_size=5), val, ckpt_path=resume[0] if resume else None)


def in_processes(folder, *args):
    assert in_own_process(still, folder, *args, log=folder.with_suffix(".log")) == 0, folder.with_suffix(
        ".log"
    ).read_text()
    return read_history(folder / "history.jsonl")


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 2)])
def test_another_number_of_processes(tmp_path, before, after):
    """No closed record is lost; of an open interval a process knows only its own share, so that epoch is marked."""
    whole = in_processes(tmp_path / "whole", 1, 3)
    in_processes(tmp_path / "first", before, 2)
    steps = 60 // 5 // before  # of an epoch
    found = in_processes(tmp_path / "rest", after, 3, tmp_path / "first" / f"step={steps + 3}.ckpt")
    assert [r.epoch for r in found.epochs] == [0, 1, 2]
    assert [e.kind for e in found.epochs[1].events if e.kind == "partial"] == ["partial"]
    for mine, theirs in zip(found.epochs, whole.epochs, strict=True):
        assert mine.stages["val"].classes == theirs.stages["val"].classes
        if mine.epoch != 1:
            assert mine.stages["train"].classes == theirs.stages["train"].classes
    assert (tmp_path / "rest" / "diagnosis.md").exists()
    assert found.context.notes == ()
