import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from toys import Toy, fit

from lightning_diag import AdaptiveEarlyStop, GapMonitor, diagnosis_of
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
