"""Parameters that no optimiser holds, in real fits."""

from __future__ import annotations

import copy

import pytest
import torch
from toys import Toy, fit, loader

from lightning_diag import all_callbacks, diagnosis_of


class Target(Toy):
    """Keeps a copy of its head that follows it slowly, as a DQN does, and trains without it."""

    def __init__(self):
        super().__init__()
        self.target = copy.deepcopy(self.head)

    def configure_optimizers(self):
        return torch.optim.SGD([*self.encoder.parameters(), *self.head.parameters()], lr=self.lr)


class Forgotten(Toy):
    def configure_optimizers(self):
        return torch.optim.SGD(self.head.parameters(), lr=self.lr)


@pytest.mark.parametrize(("module", "severity"), [(Target, "info"), (Forgotten, "error")])
def test_a_copy_is_told_from_a_part_that_was_forgotten(tmp_path, module, severity):
    done = fit(tmp_path, all_callbacks(), module(), train=loader(), val=loader(seed=1))
    assert diagnosis_of(done).diagnosis.finding("LD109").severity == severity
