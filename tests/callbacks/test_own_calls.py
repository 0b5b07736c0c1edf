"""Training batches announce themselves: each is counted once, and calls of the user's own code are not batches."""

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_diag import GapMonitor
from lightning_diag.store import read_history

X, Y = torch.randn(24, 4), torch.arange(24) % 3


class Net(LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(4, 3)

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class WithoutIndex(Net):
    def training_step(self, batch):
        return F.cross_entropy(self.net(batch[0]), batch[1])


class Closures(Net):
    """L-BFGS calls the step several times for one batch."""

    def configure_optimizers(self):
        return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=4)


class OneInAnother(Net):
    def validation_step(self, batch, batch_idx):
        return self.training_step(batch, batch_idx)


class Manual(Net):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.optimizers().zero_grad()
        self.manual_backward(loss)
        self.optimizers().step()


class Caller(Callback):
    """Calls the step from the hooks around it, as some users do to log something."""

    def _call(self, trainer, pl_module, *_):
        with torch.no_grad():
            pl_module.training_step((X[:7], Y[:7]), 0)

    on_train_epoch_start = on_train_batch_start = on_train_batch_end = on_train_epoch_end = _call
    on_validation_epoch_start = on_validation_batch_start = _call


def counts(tmp_path, module, callbacks=(), **options):
    """(training, validation) samples of each epoch."""
    loader = DataLoader(TensorDataset(X, Y), batch_size=5)
    trainer = Trainer(
        max_epochs=3,
        callbacks=[*callbacks, GapMonitor(dirpath=tmp_path)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        **options,
    )
    trainer.fit(module, loader, DataLoader(TensorDataset(X[:11], Y[:11]), batch_size=4))
    history = read_history(tmp_path / "history.jsonl")
    return [(r.stages["train"].n, r.stages["val"].n) for r in history.epochs]


@pytest.mark.parametrize("module", [Net, WithoutIndex, Closures, OneInAnother, Manual])
@pytest.mark.parametrize("caller", [False, True])
def test_each_batch_is_counted_once(tmp_path, module, caller):
    if caller and module in (WithoutIndex, Manual):
        pytest.skip("the caller passes an index and no gradients")
    assert counts(tmp_path, module(), [Caller()] if caller else []) == [(24, 11)] * 3


def test_batches_of_an_accumulated_step(tmp_path):
    assert counts(tmp_path, Net(), accumulate_grad_batches=3) == [(24, 11)] * 3


def test_the_same_batch_object_every_time(tmp_path):
    batch = (X[:5], Y[:5])

    class Same(Net):
        def train_dataloader(self):
            return DataLoader([batch], batch_size=None)

        def val_dataloader(self):
            return DataLoader([batch], batch_size=None)

    trainer = Trainer(
        max_epochs=3,
        callbacks=[GapMonitor(dirpath=tmp_path)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        log_every_n_steps=1,
    )
    trainer.fit(Same())
    assert [r.stages["train"].n for r in read_history(tmp_path / "history.jsonl").epochs] == [5] * 3
