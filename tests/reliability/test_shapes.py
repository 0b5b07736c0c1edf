"""Every shape of training is recorded as it went."""

import pytest
import torch
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from toys import Toy, blobs, loader, trainer

from lightning_diag import all_callbacks, diagnosis_of

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.filterwarnings("ignore:`training_step` returned `None`"),
    pytest.mark.filterwarnings("ignore:Your `IterableDataset`"),
    pytest.mark.filterwarnings("ignore:You requested to overfit"),
    pytest.mark.filterwarnings("ignore:Total length of `DataLoader`"),
]


class Endless(IterableDataset):
    def __iter__(self):
        return iter(zip(*blobs(40, 1), strict=True))


class Manual(Toy):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        loss = super().training_step(batch, batch_idx)
        self.manual_backward(loss)
        optimizer.step()


class Skips(Toy):
    def training_step(self, batch, batch_idx):
        return None if batch_idx % 2 else super().training_step(batch, batch_idx)


class TwoLoaders(Toy):
    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        super().validation_step(batch, batch_idx)


class Combined(Toy):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch["a"], batch_idx)


BOTH = {"train", "val"}
SHAPES = {
    "accumulate": (Toy, {"accumulate_grad_batches": 4}, [(0, 2, BOTH), (1, 4, BOTH)]),
    "manual": (Manual, {}, [(0, 6, BOTH), (1, 12, BOTH)]),
    "half epochs": (Toy, {"val_check_interval": 0.5}, [(0, 3, BOTH), (0, 6, BOTH), (1, 9, BOTH), (1, 12, BOTH)]),
    "every second": (Toy, {"check_val_every_n_epoch": 2}, [(0, 6, {"train"}), (1, 12, BOTH)]),
    "by steps": (
        Toy,
        {"val_check_interval": 9, "check_val_every_n_epoch": None},
        [(0, 6, {"train"}), (1, 9, BOTH), (1, 12, {"train"})],
    ),
    "limited": (Toy, {"limit_train_batches": 2, "limit_val_batches": 1}, [(0, 2, BOTH), (1, 4, BOTH)]),
    "max steps": (Toy, {"max_epochs": -1, "max_steps": 10}, [(0, 6, BOTH), (1, 10, {"train"})]),
    "steps that return None": (Skips, {}, [(0, 6, BOTH), (1, 12, BOTH)]),
    "overfit batches": (Toy, {"overfit_batches": 2}, [(0, 2, BOTH), (1, 4, BOTH)]),
    "bf16": (Toy, {"precision": "bf16-mixed"}, [(0, 6, BOTH), (1, 12, BOTH)]),
}


def record(run):
    history = diagnosis_of(run).history
    assert history.context.notes == ()
    return [(r.epoch, r.step, set(r.stages)) for r in history.epochs]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_record_follows_the_shape(tmp_path, shape):
    cls, settings, expected = SHAPES[shape]
    torch.manual_seed(0)
    run = trainer(tmp_path, all_callbacks(), epochs=2, **settings)
    run.fit(cls(), loader(shuffle=True), loader(31, 2))
    assert record(run) == expected
    assert (tmp_path / "diagnosis.md").exists()


def test_loaders_without_a_length(tmp_path):
    run = trainer(tmp_path, all_callbacks(), epochs=2)
    run.fit(Toy(), DataLoader(Endless(), 8), DataLoader(Endless(), 8))
    assert record(run) == [(0, 5, BOTH), (1, 10, BOTH)]


def test_two_validation_loaders_are_kept_apart(tmp_path):
    run = trainer(tmp_path, all_callbacks(), epochs=1)
    run.fit(TwoLoaders(), loader(), [loader(31, 2), loader(20, 3)])
    stages = diagnosis_of(run).history.epochs[0].stages
    assert {name: stage.n for name, stage in stages.items()} == {"train": 60, "val": 31, "val:1": 20}


def test_combined_loaders(tmp_path):
    run = trainer(tmp_path, all_callbacks(), epochs=1)
    both = CombinedLoader({"a": loader(shuffle=True), "b": loader(20, 4)}, "max_size_cycle")
    run.fit(Combined(), both, loader(31, 2))
    assert record(run) == [(0, 6, BOTH)]


def test_an_empty_validation_loader_is_told(tmp_path):
    run = trainer(tmp_path, all_callbacks(), epochs=1)
    empty = DataLoader(TensorDataset(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)))
    with pytest.warns(RuntimeWarning, match="There is no validation"):
        run.fit(Toy(), loader(), empty)
    assert record_stages(run) == [{"train"}]


def record_stages(run):
    return [set(r.stages) for r in diagnosis_of(run).history.epochs]
