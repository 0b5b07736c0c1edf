"""Every shape of training is recorded as it went."""

import copy
import pickle
import warnings

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder
from lightning.pytorch.tuner import Tuner
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


class TwoOptimizers(Manual):
    """A step of each of two optimisers per batch."""

    def training_step(self, batch, batch_idx):
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            loss = Toy.training_step(self, batch, batch_idx)
            self.manual_backward(loss)
            optimizer.step()

    def configure_optimizers(self):
        return [torch.optim.SGD(part.parameters(), lr=0.1) for part in (self.encoder, self.head)]


class WithoutRate(Toy):
    """A home-made optimiser whose groups have no learning rate."""

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        optimizer.register_step_pre_hook(lambda o, *_: o.param_groups[0].setdefault("lr", 0.1) and None)
        optimizer.register_step_post_hook(lambda o, *_: o.param_groups[0].pop("lr") and None)
        return optimizer


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
    "several optimisers": (TwoOptimizers, {}, [(0, 12, BOTH), (1, 24, BOTH)]),
    "optimiser without a learning rate": (WithoutRate, {}, [(0, 6, BOTH), (1, 12, BOTH)]),
    "half epochs": (Toy, {"val_check_interval": 0.5}, [(0, 3, BOTH), (0, 6, BOTH), (1, 9, BOTH), (1, 12, BOTH)]),
    "every second": (Toy, {"check_val_every_n_epoch": 2}, [(0, 6, {"train"}), (1, 12, BOTH)]),
    "by steps": (
        Toy,
        {"val_check_interval": 9, "check_val_every_n_epoch": None},
        [(0, 6, {"train"}), (1, 9, BOTH), (1, 12, {"train"})],
    ),
    "limited": (Toy, {"limit_train_batches": 2, "limit_val_batches": 1}, [(0, 2, BOTH), (1, 4, BOTH)]),
    "max steps": (Toy, {"max_epochs": -1, "max_steps": 10}, [(0, 6, BOTH), (1, 10, {"train"})]),
    "max time": (Toy, {"max_epochs": 2, "max_time": "00:00:01:00"}, [(0, 6, BOTH), (1, 12, BOTH)]),
    "steps that return None": (Skips, {}, [(0, 6, BOTH), (1, 12, BOTH)]),
    "overfit batches": (Toy, {"overfit_batches": 2}, [(0, 2, BOTH), (1, 4, BOTH)]),
    "bf16": (Toy, {"precision": "bf16-mixed"}, [(0, 6, BOTH), (1, 12, BOTH)]),
    "bf16 all through": (Toy, {"precision": "bf16-true"}, [(0, 6, BOTH), (1, 12, BOTH)]),
    "fp16 all through": (Toy, {"precision": "16-true"}, [(0, 6, BOTH), (1, 12, BOTH)]),
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


def precise(folder, callbacks, **settings):
    torch.manual_seed(0)
    run = trainer(folder, callbacks, epochs=2, **settings)
    run.fit(Toy(), loader(60, 1), loader(31, 2))
    return run


def assert_counted_and_unchanged(tmp_path, **settings):
    bare = precise(tmp_path / "bare", [], **settings).lightning_module.state_dict()
    run = precise(tmp_path / "watched", all_callbacks(), **settings)
    torch.testing.assert_close(run.lightning_module.state_dict(), bare, rtol=0, atol=0)
    history = diagnosis_of(run).history
    assert history.context.notes == ()
    for record in history.epochs:
        assert (record.stages["train"].n, record.stages["val"].n) == (60, 31)
        assert [sum(row.support for row in record.stages[stage].classes) for stage in ("train", "val")] == [60, 31]
        assert 0 < record.values["train/loss"] < 5
        assert 0 < record.values["val/loss"] < 5
        assert record.values["grad/norm"] > 0


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "16-true", "64-true"])
def test_lower_and_higher_precision(tmp_path, precision):
    assert_counted_and_unchanged(tmp_path, precision=precision)


@pytest.mark.cuda
@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed", "16-true"])
def test_lower_precision_on_a_gpu(tmp_path, precision):
    """Gradient scaling needs a GPU: a step that it leaves out is none of ours."""
    assert_counted_and_unchanged(tmp_path, precision=precision, accelerator="gpu", devices=1)


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


class Silent(Toy):
    """Without ``self.log``, which torch 2.13 does not compile."""

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.cross_entropy(self(batch[0]), batch[1])

    validation_step = training_step


@pytest.mark.filterwarnings("ignore")
def test_compiled_modules_are_recorded(tmp_path):
    """Lightning compiles the steps whole: what happens inside cannot be seen, so the losses are recorded."""

    def weights(callbacks, module):
        torch.manual_seed(0)
        torch._dynamo.reset()
        run = trainer(tmp_path, callbacks, epochs=2)
        run.fit(module(), loader(shuffle=True), loader(31, 2))
        return run, {name.removeprefix("_orig_mod."): w for name, w in run.lightning_module.state_dict().items()}

    def whole():
        return torch.compile(Silent(), backend="eager")

    def inner():
        module = Silent()
        module.encoder = torch.compile(module.encoder, backend="eager")
        return module

    for module in (whole, inner):
        _, bare = weights([], module)
        run, watched = weights(all_callbacks(), module)
        torch.testing.assert_close(watched, bare, rtol=0, atol=0)
        history = diagnosis_of(run).history
        assert [(r.epoch, r.step, "train/loss" in r.values) for r in history.epochs] == [(0, 6, True), (1, 12, True)]
        assert not [note for note in history.context.notes if "failed" in note]


def test_a_data_module(tmp_path):
    class Data(LightningDataModule):
        def train_dataloader(self):
            return loader(shuffle=True)

        def val_dataloader(self):
            return loader(31, 2)

    run = trainer(tmp_path, all_callbacks(), epochs=2)
    run.fit(Toy(), datamodule=Data())
    assert record(run) == [(0, 6, BOTH), (1, 12, BOTH)]


def test_a_barebones_trainer_gets_one_clear_message_per_callback_and_no_files(tmp_path):
    callbacks = all_callbacks()
    settings = {"max_epochs": 1, "barebones": True, "accelerator": "cpu", "callbacks": callbacks}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = Trainer(**settings, default_root_dir=str(tmp_path))
        run.fit(Toy(), loader(), loader(31, 2))
    told = [str(w.message) for w in caught if "barebones=True" in str(w.message) and "lightning_diag" in str(w.message)]
    assert len(told) == len(callbacks)
    assert list(tmp_path.iterdir()) == []


class Tunable(Toy):
    def __init__(self):
        super().__init__()
        self.batch_size = 4

    def train_dataloader(self):
        return loader(60, 1, batch_size=self.batch_size)

    def val_dataloader(self):
        return loader(31, 2)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("first", [True, False], ids=["before ours", "after ours"])
@pytest.mark.parametrize("finder", [LearningRateFinder, BatchSizeFinder])
def test_what_a_finder_callback_tries_is_not_recorded(tmp_path, finder, first):
    tries = {"num_training_steps": 5} if finder is LearningRateFinder else {"max_trials": 2, "steps_per_trial": 1}
    ours = all_callbacks()
    callbacks = [finder(**tries), *ours] if first else [*ours, finder(**tries)]
    run = trainer(tmp_path, callbacks, epochs=2, enable_checkpointing=False)
    module = Tunable()
    run.fit(module)
    history = diagnosis_of(run).history
    assert [r.epoch for r in history.epochs] == [0, 1]
    assert [r.stages["train"].n for r in history.epochs] == [60, 60]
    assert history.context.notes == ()
    assert "training_step" not in vars(module)
    assert sorted(p.name for p in tmp_path.glob("diagnosis*.md")) == ["diagnosis.md"]


@pytest.mark.filterwarnings("ignore")
def test_tuner_runs_are_not_recorded(tmp_path):
    run = trainer(tmp_path, all_callbacks(), epochs=2)
    module = Tunable()
    tuner = Tuner(run)
    tuner.lr_find(module, num_training=5)
    tuner.scale_batch_size(module, max_trials=2, steps_per_trial=1)
    assert list(tmp_path.glob("diagnosis*")) == []
    assert "training_step" not in vars(module)
    run.fit(module)
    assert [(r.epoch, r.stages["train"].n) for r in diagnosis_of(run).history.epochs] == [(0, 60), (1, 60)]


def test_callbacks_can_be_copied_before_and_after_a_fit(tmp_path):
    callbacks = all_callbacks()
    copies = copy.deepcopy(callbacks)
    for number, own in enumerate((callbacks, copies)):
        trainer(tmp_path / str(number), own, epochs=1).fit(Toy(), loader(), loader(31, 2))
        again = pickle.loads(pickle.dumps(copy.deepcopy(own)))
        trainer(tmp_path / f"{number} again", again, epochs=1).fit(Toy(), loader(), loader(31, 2))
        assert (tmp_path / f"{number} again" / "diagnosis.md").exists()


def test_the_order_of_the_users_callbacks_stays(tmp_path):
    class First(Callback):
        pass

    class Last(Callback):
        pass

    run = trainer(tmp_path, [First(), *all_callbacks(), Last()], epochs=1)
    before = list(run.callbacks)
    run.fit(Toy(), loader(), loader(31, 2))
    assert [c for c in run.callbacks if c in before] == before
    assert len(run.callbacks) == len(before) + 1
