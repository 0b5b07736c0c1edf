"""Why no ReLU unit was observed is said as it is: it is rarely the module."""

import pytest
from torch import nn
from torch.nn import functional as F
from toys import Toy, fit, loader

from lightning_diag import GapMonitor
from lightning_diag.engine import diagnose
from lightning_diag.store import read_history


class Called(Toy):
    """No layer to watch."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 8), nn.Tanh())

    def forward(self, x):
        return self.head(F.relu(self.encoder(x)))


class HeadAlone(Toy):
    """The part that gives the predictions has no ReLU; another one has."""

    def __init__(self):
        super().__init__()
        self.direct = nn.Linear(4, 3)

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self.direct(batch[0]), batch[1]) + 0 * self.encoder(batch[0]).sum()


class NoPart(Toy):
    """No part gives the predictions."""

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(F.linear(self.encoder(batch[0]), self.head.weight), batch[1])


class Unseen(Toy):
    """A step whose predictions nobody can read."""

    def training_step(self, batch, batch_idx):
        return self(batch[0]).square().mean()

    def validation_step(self, batch, batch_idx):
        return self.training_step(batch, batch_idx)


@pytest.mark.parametrize(
    ("module", "options", "batch", "reason"),
    [
        (Called, {}, 10, "the module has no nn.ReLU layer"),
        (Toy, {"probe_batches": 0}, 10, "probe_batches is 0"),
        (Unseen, {}, 10, "no training step gave predictions to start from"),
        (HeadAlone, {}, 10, "the probe runs direct alone"),
        (NoPart, {}, 10, "could not run (no part of the module gives the predictions"),
        (Toy, {}, 2, "the probe is too small (16 samples"),
        (Toy, {}, 30, None),
    ],
)
def test_the_true_reason_is_given(tmp_path, module, options, batch, reason):
    data = loader(60, 1, batch_size=batch), loader(30, 2, batch_size=batch)
    fit(tmp_path, [GapMonitor(dirpath=tmp_path, **options)], module(), 2, *data)
    reasons = {
        outcome.code: outcome.reason for outcome in diagnose(read_history(tmp_path / "history.jsonl")).not_checked
    }
    if reason is None:
        assert "ReLU" not in reasons.get("LD113", "")
    else:
        assert reasons["LD113"].startswith("ReLU units were not observed: ")
        assert reason in reasons["LD113"]
