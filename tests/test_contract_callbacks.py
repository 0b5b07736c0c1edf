"""What every monitor promises, whatever it measures."""

import contextlib
import json
import pickle

import lightning.pytorch
import pytest
import pytorch_lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.nn import functional as F
from toys import Toy, fit, loader, trainer

import lightning_diag
from lightning_diag import all_callbacks, diagnosis_of
from lightning_diag.callbacks.observer import Observer
from lightning_diag.store import read_history

SINGLE = {
    "GapMonitor": lightning_diag.GapMonitor,
    "ClassCollapseDetector": lightning_diag.ClassCollapseDetector,
    "CTCBlankMonitor": lightning_diag.CTCBlankMonitor,
    "PretrainLoadVerifier": lambda: lightning_diag.PretrainLoadVerifier(on_not_loaded="warn"),
    "AdaptiveEarlyStop": lightning_diag.AdaptiveEarlyStop,
}
EACH = pytest.mark.parametrize(
    "make", [*[lambda f=f: [f()] for f in SINGLE.values()], all_callbacks], ids=[*SINGLE, "all"]
)
ALL = pytest.mark.parametrize("make", [all_callbacks], ids=["all"])


@EACH
def test_a_report_is_written_and_the_record_is_complete(tmp_path, make):
    run = fit(tmp_path, make(), epochs=3)
    content = json.loads((tmp_path / "diagnosis.json").read_text())
    assert {"findings", "not_established", "clear", "not_checked", "crashed"} <= set(content)
    assert content["crashed"] == []
    assert (tmp_path / "diagnosis.md").read_text().startswith("# ")
    assert read_history(tmp_path / "history.jsonl").epochs == diagnosis_of(run).history.epochs
    assert [r.epoch for r in diagnosis_of(run).history.epochs] == [0, 1, 2]
    assert diagnosis_of(run).history.context.notes == ()


@EACH
def test_the_training_is_identical_to_the_bit(tmp_path, make):
    def weights(callbacks):
        torch.manual_seed(3)
        run = fit(
            tmp_path / str(len(callbacks)), callbacks, Toy(dropout=0.3), epochs=2, train=loader(60, 1, shuffle=True)
        )
        optimizer = run.optimizers[0].state_dict()["state"]
        return run.model.state_dict(), optimizer, torch.get_rng_state(), dict(run.callback_metrics)

    bare, watched = weights([]), weights(make())
    torch.testing.assert_close(watched[:3], bare[:3], rtol=0, atol=0)
    assert {name: value for name, value in watched[3].items() if not name.startswith("diag/")} == bare[3]


@ALL
def test_the_sanity_check_leaves_no_record(tmp_path, make):
    run = fit(tmp_path, make(), num_sanity_val_steps=2)
    assert [r.epoch for r in diagnosis_of(run).history.epochs] == [0, 1]
    assert diagnosis_of(run).history.context.baseline is None


@ALL
def test_a_run_without_validation_is_recorded(tmp_path, make):
    class NoValidation(Toy):
        validation_step = None

    run = trainer(tmp_path, make())
    with pytest.warns(RuntimeWarning, match="There is no validation"):
        run.fit(NoValidation(), loader(shuffle=True))
    history = diagnosis_of(run).history
    assert "train/loss" in history.signals()
    assert not any(name.startswith("val/") for name in history.signals())
    assert "no validation" in (tmp_path / "diagnosis.md").read_text()


@pytest.mark.filterwarnings("ignore:Detected KeyboardInterrupt")  # Lightning before 2.4 ends such a fit normally
@ALL
def test_an_exception_and_an_interrupt_still_leave_a_report(tmp_path, make):
    for number, error in enumerate((ZeroDivisionError, KeyboardInterrupt)):

        class Fails(Toy):
            def training_step(self, batch, batch_idx, error=error):
                if self.current_epoch == 1 and batch_idx == 2:
                    raise error
                return super().training_step(batch, batch_idx)

        folder = tmp_path / str(number)
        module = Fails()
        with contextlib.suppress(ZeroDivisionError, SystemExit):
            fit(folder, make(), module, epochs=3)
        history = read_history(folder / "history.jsonl")
        assert [r.epoch for r in history.epochs] == [0]
        assert history.context.stop.status == ("exception", "interrupted")[number]
        assert (folder / "diagnosis.md").exists()
        assert "training_step" not in vars(module)


@ALL
def test_names_of_torch_and_methods_of_the_module_are_restored(tmp_path, make):
    before = {name: getattr(F, name) for name in dir(F)}
    run = fit(tmp_path, make())
    assert {name: getattr(F, name) for name in dir(F)} == before
    assert not {"training_step", "validation_step"} & set(vars(run.lightning_module))
    pickle.dumps(run.lightning_module.state_dict())


@ALL
def test_fast_dev_run_writes_nothing(tmp_path, make):
    fit(tmp_path, make(), fast_dev_run=True)
    assert list(tmp_path.iterdir()) == []


@ALL
def test_a_second_fit_keeps_the_older_report(tmp_path, make):
    fit(tmp_path, make())
    first = (tmp_path / "diagnosis.md").read_text()
    fit(tmp_path, make(), epochs=4)
    assert (tmp_path / "diagnosis.1.md").read_text() == first
    assert len(read_history(tmp_path / "history.jsonl").epochs) == 4


@ALL
def test_the_same_trainer_can_fit_twice(tmp_path, make):
    run = fit(tmp_path, make())
    run.fit_loop.max_epochs = 4
    run.fit(run.lightning_module, loader(60, 1, shuffle=True), loader(31, 2))
    assert [r.epoch for r in diagnosis_of(run).history.epochs] == [0, 1, 2, 3]


@ALL
def test_a_resumed_run_has_the_history_of_the_uninterrupted_one(tmp_path, make):
    whole = fit(tmp_path / "whole", make(), epochs=4)
    checkpoint = ModelCheckpoint(tmp_path / "ckpt", save_last=True)
    fit(tmp_path / "part", [*make(), checkpoint], epochs=2, enable_checkpointing=True)
    again = [*make(), ModelCheckpoint(tmp_path / "ckpt", save_last=True)]
    path = checkpoint.last_model_path
    resumed = fit(tmp_path / "rest", again, epochs=4, ckpt_path=path, enable_checkpointing=True)
    expected, found = diagnosis_of(whole).history, diagnosis_of(resumed).history
    assert [r.epoch for r in found.epochs] == [0, 1, 2, 3]
    assert found.epochs[1].stages == expected.epochs[1].stages
    assert found.context.resumed_epoch == 2
    assert found.context.baseline is not None
    assert read_history(tmp_path / "rest" / "history.jsonl").epochs == found.epochs


@ALL
def test_both_import_names_work(tmp_path, make):
    class Old(pytorch_lightning.LightningModule):
        def __init__(self):
            super().__init__()
            toy = Toy()
            self.encoder, self.head, self.lr = toy.encoder, toy.head, toy.lr

        forward, configure_optimizers = Toy.forward, Toy.configure_optimizers
        training_step, validation_step = Toy.training_step, Toy.validation_step

    run = trainer(tmp_path, make(), cls=pytorch_lightning.Trainer)
    run.fit(Old(), loader(shuffle=True), loader(31, 2))
    assert {"train/acc", "val/acc"} <= set(diagnosis_of(run).history.signals())
    assert isinstance(run, pytorch_lightning.Trainer)
    assert not isinstance(run, lightning.pytorch.Trainer)


@ALL
def test_validate_and_test_after_fit_change_nothing(tmp_path, make):
    class WithTest(Toy):
        def test_step(self, batch, batch_idx):
            self.validation_step(batch, batch_idx)

    run = fit(tmp_path, make(), WithTest())
    report = (tmp_path / "diagnosis.md").read_text()
    run.validate(run.lightning_module, loader(31, 2), verbose=False)
    run.test(run.lightning_module, loader(31, 2), verbose=False)
    assert (tmp_path / "diagnosis.md").read_text() == report
    assert len(diagnosis_of(run).history.epochs) == 2


@EACH
def test_callbacks_can_be_pickled(make):
    for callback in pickle.loads(pickle.dumps(make())):
        assert callback.options is not None


@EACH
def test_attaching_a_monitor_twice_is_told_before_training(tmp_path, make):
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    with pytest.raises((MisconfigurationException, RuntimeError), match=r"attached twice|unique"):
        fit(tmp_path, [*make(), *make()])


def test_values_reach_a_checkpoint_that_monitors_them(tmp_path):
    checkpoint = ModelCheckpoint(tmp_path, monitor="diag/val_balanced_acc", mode="max")
    run = fit(tmp_path, [checkpoint, *all_callbacks()], epochs=3, enable_checkpointing=True)
    series = diagnosis_of(run).history.series("val/balanced_acc")
    assert checkpoint.best_model_score == pytest.approx(max(series.values))


def test_one_observer_serves_all_and_leaves_checkpoints_last(tmp_path):
    run = fit(tmp_path, [*all_callbacks(), ModelCheckpoint(tmp_path)], enable_checkpointing=True)
    kinds = [type(c).__name__ for c in run.callbacks]
    assert sum(isinstance(c, Observer) for c in run.callbacks) == 1
    assert kinds[-1] == "ModelCheckpoint"


def test_a_full_sanity_check_is_the_baseline(tmp_path):
    run = fit(tmp_path, [lightning_diag.GapMonitor()], num_sanity_val_steps=-1)
    baseline = diagnosis_of(run).history.context.baseline
    assert baseline.source == "validation before the first step"
    assert baseline.correct.n == 31
    assert [r.epoch for r in diagnosis_of(run).history.epochs] == [0, 1]
