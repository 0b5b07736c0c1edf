"""A validation loss that is only logged is judged like a measured one; a measured one wins."""

import pytest
from toys import Toy, fit

from lightning_diag import GapMonitor
from lightning_diag.store import read_history


def focal(logits, target):
    """A loss of one's own, written without a loss of torch."""
    log_p = logits.log_softmax(1).gather(1, target[:, None]).squeeze(1)
    return (-((1 - log_p.exp()) ** 2) * log_p).mean()


class Focal(Toy):
    """Logs its validation loss and returns nothing."""

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", focal(self(batch[0]), batch[1]))


class Measured(Toy):
    """Calls a loss of torch, and logs another number under the usual name."""

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        self.log("valid_loss", self(batch[0]).sum() * 0 + 77.0)


def test_the_logged_loss_is_taken_and_named(tmp_path):
    fit(tmp_path, [GapMonitor(dirpath=tmp_path)], module=Focal(), epochs=4, check_val_every_n_epoch=2)
    history = read_history(tmp_path / "history.jsonl")
    series = history.series("val/loss")
    assert series.epochs == (1, 3)
    assert series.values == history.series("logged/val_loss").values
    assert [note for note in history.context.notes if "as logged (val_loss)" in note]
    assert "No validation loss was recorded" not in (tmp_path / "diagnosis.md").read_text()


def test_a_measured_loss_wins(tmp_path):
    fit(tmp_path, [GapMonitor(dirpath=tmp_path)], module=Measured())
    history = read_history(tmp_path / "history.jsonl")
    assert history.series("val/loss").values == pytest.approx(history.series("logged/val_loss").values, rel=1e-4)
    assert not [note for note in history.context.notes if "as logged" in note]
