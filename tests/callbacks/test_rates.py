"""The recorded learning rate is the one that the steps of the interval were made with."""

import pytest
import torch
from toys import Toy, fit, loader

from lightning_diag import GapMonitor
from lightning_diag.store import read_history


class Scheduled(Toy):
    """Remembers the rate of every optimiser step."""

    def on_fit_start(self):
        self.used = {}

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), 0.1)
        return [optimizer], [{"scheduler": self.make(optimizer), "interval": self.interval, "monitor": "val_loss"}]

    def on_before_optimizer_step(self, optimizer):
        self.used.setdefault(self.current_epoch, []).append(optimizer.param_groups[0]["lr"])


SCHEDULES = {
    "step": (lambda o: torch.optim.lr_scheduler.StepLR(o, 2, 0.1), "epoch"),
    "exponential": (lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.5), "epoch"),
    "linear per step": (lambda o: torch.optim.lr_scheduler.LinearLR(o, 1.0, 0.01, total_iters=60), "step"),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_rate_of_an_epoch_is_the_one_it_trained_with(tmp_path, name):
    make, interval = SCHEDULES[name]
    module = Scheduled()
    module.make, module.interval = make, interval
    fit(tmp_path, [GapMonitor(dirpath=tmp_path)], module, epochs=5, train=loader(96, 1))
    records = read_history(tmp_path / "history.jsonl").epochs
    found = [record.values["lr"] for record in records]
    tolerance = 1e-6 if interval == "epoch" else 0.1  # a scheduler that steps per batch has made one more step
    assert found == pytest.approx([rates[-1] for rates in module.used.values()], rel=tolerance)
    first = [record.values.get("lr/first") for record in records]
    assert first == [module.used[0][0] if interval == "step" else None, None, None, None, None]
