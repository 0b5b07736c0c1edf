from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from toys import Toy, fit

from lightning_diag import AdaptiveEarlyStop, GapMonitor, diagnosis_of
from lightning_diag.callbacks import best_weights
from lightning_diag.history import EpochRecord, Event
from lightning_diag.stopping import replay
from lightning_diag.store import read_history


class Flat(Toy):
    """Learns in three epochs, then nothing changes any more."""

    def on_train_epoch_start(self):
        if self.current_epoch >= 3:
            for group in self.trainer.optimizers[0].param_groups:
                group["lr"] = 0.0


def test_a_run_that_stands_still_is_stopped_and_the_report_says_so(tmp_path):
    stopper = AdaptiveEarlyStop(dirpath=tmp_path)
    run = fit(tmp_path, [stopper], Flat(), epochs=40)
    assert 4 <= run.current_epoch < 40
    stop = diagnosis_of(run).history.context.stop
    assert (stop.status, stop.stopper) == ("stopped", "AdaptiveEarlyStop")
    assert stop.saved_epochs == 40 - run.current_epoch
    assert run.early_stopping_callback is stopper
    assert "AdaptiveEarlyStop" in (tmp_path / "diagnosis.md").read_text()


def test_a_dry_run_only_reports(tmp_path):
    run = fit(tmp_path, [AdaptiveEarlyStop(dry_run=True)], Flat(), epochs=25)
    stop = diagnosis_of(run).history.context.stop
    assert run.current_epoch == 25
    assert stop.status == "finished"
    assert 3 <= stop.would_stop_epoch < 25


def test_never_before_min_epochs_and_never_latched(tmp_path):
    run = fit(tmp_path, [AdaptiveEarlyStop()], Flat(), epochs=40, min_epochs=22)
    assert 22 <= run.current_epoch < 40


def test_without_a_stopper_the_run_is_replayed(tmp_path):
    run = fit(tmp_path, [GapMonitor()], Flat(), epochs=25)
    assert diagnosis_of(run).history.context.stop.would_stop_epoch is not None


class Stepped(Flat):
    """With a schedule that a stop waits for."""

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 9, 0.1)]


@pytest.mark.parametrize(
    ("monitors", "module", "more"),
    [
        ([AdaptiveEarlyStop(dry_run=True)], Flat, {}),
        ([AdaptiveEarlyStop("val_loss", max_missed_gain="early", dry_run=True)], Flat, {}),
        ([AdaptiveEarlyStop(dry_run=True), GapMonitor(monitor="val/loss")], Stepped, {}),
        ([AdaptiveEarlyStop(min_gain=0.2, dry_run=True)], Flat, {"val_check_interval": 0.5}),
        ([GapMonitor()], Stepped, {}),
    ],
    ids=["default", "one series", "schedule", "twice an epoch", "without a stopper"],
)
def test_a_replay_of_the_record_decides_what_the_run_decided(tmp_path, monitors, module, more):
    fit(tmp_path, monitors, module(), epochs=25, **more)
    history = read_history(tmp_path / "history.jsonl")
    seen, stop = replay(history), history.context.stop
    assert stop.would_stop_epoch is not None
    assert seen.stop_epoch == stop.would_stop_epoch
    assert seen.stop.reason == stop.would_stop_reason
    assert tuple(d.probability for d in seen.decisions if d.probability is not None) == tuple(
        p for _, p in stop.probability
    )


def test_a_target_reached_and_held_ends_the_run(tmp_path):
    run = fit(tmp_path, [AdaptiveEarlyStop("val/acc", target=0.5, stop_at_target=True)], epochs=30)
    assert run.current_epoch < 10


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_best_weights_come_back(tmp_path, checkpointing):
    class Spoiled(Toy):
        def on_train_epoch_start(self):
            if self.current_epoch == 3:
                torch.nn.init.zeros_(self.head.weight)
                self.trainer.optimizers[0].param_groups[0]["lr"] = 0.0

    extra = [ModelCheckpoint(tmp_path, monitor="diag/val_loss")] if checkpointing else []
    stopper = AdaptiveEarlyStop("val/loss", restore_best=True, dry_run=True, dirpath=tmp_path)
    run = fit(tmp_path, [stopper, *extra], Spoiled(), epochs=6, enable_checkpointing=checkpointing)
    assert run.lightning_module.head.weight.abs().sum() > 0
    assert (tmp_path / "best-weights.pt").exists() is not checkpointing
    assert diagnosis_of(run).history.context.stop.best_checkpoint


def test_a_resumed_run_takes_the_new_arguments(tmp_path):
    keep = ModelCheckpoint(tmp_path, save_last=True)
    fit(tmp_path, [AdaptiveEarlyStop(max_missed_gain="early"), keep], epochs=2, enable_checkpointing=True)
    again = AdaptiveEarlyStop(max_missed_gain="safe")
    more = [again, ModelCheckpoint(tmp_path, save_last=True)]
    run = fit(tmp_path, more, epochs=4, ckpt_path=keep.last_model_path, enable_checkpointing=True)
    assert again.max_missed_gain == "safe"
    assert len(diagnosis_of(run).history.context.stop.probability) == 2


def test_the_stop_of_an_earlier_fit_is_not_told_again(tmp_path):
    stopper = AdaptiveEarlyStop("val/acc", target=0.05, stop_at_target=True)
    first = fit(tmp_path / "first", [stopper], epochs=30)
    assert stopper.stopped_epoch == first.current_epoch - 1
    stopper.target = 1.1  # never reached
    second = fit(tmp_path / "second", [stopper], epochs=3)
    stop = diagnosis_of(second).history.context.stop
    assert second.current_epoch == 3
    assert (stop.status, stop.stopper, stopper.stopped_epoch) == ("finished", None, 0)
    assert stopper.stopping_reason_message is None


def test_a_stop_in_the_first_epoch_is_a_stop(tmp_path):
    stopper = AdaptiveEarlyStop("val/acc", target=0.05, stop_at_target=True, min_evaluations=1)
    run = fit(tmp_path, [stopper], epochs=30, val_check_interval=2)
    stop = diagnosis_of(run).history.context.stop
    assert (run.current_epoch, stopper.stopped_epoch) == (1, 0)
    assert (stop.stopper, stop.saved_epochs) == ("AdaptiveEarlyStop", 29)


class StopsItself(Flat):
    def on_train_epoch_end(self):
        self.trainer.should_stop = self.current_epoch == 1


def test_another_stopper_of_an_earlier_fit_is_not_named(tmp_path):
    patient = EarlyStopping("val_loss", stopping_threshold=100.0)
    fit(tmp_path / "first", [GapMonitor(), patient], Flat(), epochs=30, check_val_every_n_epoch=2)
    assert patient.stopped_epoch
    patient.stopping_threshold = None
    run = fit(tmp_path / "second", [GapMonitor(), patient], StopsItself(), epochs=30)
    assert diagnosis_of(run).history.context.stop.stopper is None


class FullDisk:
    """In the place of torch: all but ``save`` works."""

    def __init__(self, error):
        self.error = error

    def __getattr__(self, name):
        return getattr(torch, name)

    def save(self, state, path):
        path.write_bytes(b"half a file")
        raise self.error


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("PytorchStreamWriter failed")])
def test_a_disk_without_room_for_the_best_weights_switches_no_stopper_off(tmp_path, monkeypatch, error):
    monkeypatch.setattr(best_weights, "torch", FullDisk(error))
    stopper = AdaptiveEarlyStop("val/acc", target=0.05, stop_at_target=True, restore_best=True)
    with pytest.warns(RuntimeWarning, match="could not be kept") as told:
        run = fit(tmp_path, [stopper], epochs=8)
    assert sum("could not be kept" in str(warning.message) for warning in told) == 1
    assert run.current_epoch == 3
    notes = [note for note in diagnosis_of(run).history.context.notes if note.startswith("restore_best")]
    assert len(notes) == 2  # not kept; so nothing is put back
    assert [path.name for path in tmp_path.glob("best-weights*")] == []


@pytest.mark.parametrize(
    "spoil", [lambda state: state.pop("head.bias"), lambda state: state.update(more=torch.ones(1))]
)
def test_weights_that_do_not_fit_leave_the_last_ones_whole(tmp_path, spoil):
    class Spoils(Toy):
        def on_train_end(self):
            path = tmp_path / "best-weights.pt"
            state = {name: torch.zeros_like(value) for name, value in torch.load(path, weights_only=True).items()}
            spoil(state)
            torch.save(state, path)

    stopper = AdaptiveEarlyStop(restore_best=True, dry_run=True, dirpath=tmp_path)
    run = fit(tmp_path, [stopper], Spoils(), epochs=2)
    assert run.lightning_module.head.weight.abs().sum() > 0
    assert any("does not fit the module" in note for note in diagnosis_of(run).history.context.notes)
    assert diagnosis_of(run).history.context.stop.probability is not None


def test_sharded_weights_are_neither_kept_nor_put_back():
    class FSDPStrategy:
        def lightning_module_state_dict(self):
            raise AssertionError("collective: on one process alone it would hang")

    run = SimpleNamespace(
        trainer=SimpleNamespace(strategy=FSDPStrategy(), checkpoint_callbacks=[]),
        module=Toy(),
        directory="unused",
        is_writer=True,
        processes=2,
    )
    kept = best_weights.BestWeights()
    kept.keep(run, EpochRecord(epoch=0, events=(Event(kind="best"),)))
    assert kept.path is None
    assert "FSDPStrategy shards the weights" in kept.restore(run)
