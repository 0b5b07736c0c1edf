"""Two processes: the forward of the wrapper is redirected to the step, and the module travels by pickle."""

import warnings

import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from processes import in_own_process, leave_without_teardown
from torch.utils.data import DataLoader

from lightning_diag.capture import StepCapture
from tests.capture.trainings import Module, Noisy, OwnLoss


class Leaves(Callback):
    """Lets each process that trains end without the teardown of its interpreter."""

    def on_fit_start(self, trainer, pl_module):
        leave_without_teardown()


class Observer(Callback):
    """Installs in the process that trains, and fails there when a step gave no pair."""

    def on_fit_start(self, trainer, pl_module):
        self.capture = StepCapture(pl_module)
        self.capture.install()
        self.found = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.capture.begin("train", batch, batch_idx)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        seen = self.capture.end(outputs)
        self.found.append(seen is not None and seen.target.data_ptr() == batch[1].data_ptr())

    def on_fit_end(self, trainer, pl_module):
        self.capture.remove()
        if sum(self.found) < len(self.found) - 1 or self.capture.faults.first is not None:
            raise AssertionError(f"{self.found} {self.capture.facts('train')} {self.capture.faults.first}")


def fit(kind, strategy, callbacks):
    seed_everything(5)
    module = kind()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Trainer(
            max_epochs=1,
            strategy=strategy,
            devices=2,
            accelerator="cpu",
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
        )
        loader = DataLoader(Noisy(), batch_size=4)
        trainer.fit(module, loader, loader)
    return module.state_dict()


@pytest.mark.reliability
@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_fork"])
@pytest.mark.parametrize("kind", [Module, OwnLoss])
def test_two_processes_end_in_the_same_weights(tmp_path, kind, strategy):
    def both():
        bare, seen = fit(kind, strategy, [Leaves()]), fit(kind, strategy, [Leaves(), Observer()])
        assert all(torch.equal(bare[name], seen[name]) for name in bare)

    assert in_own_process(both, log=tmp_path / "log") == 0, (tmp_path / "log").read_text()
