"""Nothing of a run changes by being observed, and everything is put back."""

import copy
import io
import pickle

import pytest
import pytorch_lightning
import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer
from torch import Tensor, nn

from lightning_diag.capture import StepCapture
from lightning_diag.capture.interception import _slots
from tests.capture.test_observation import Net
from tests.capture.test_styles import Observer
from tests.capture.trainings import KINDS, Module, train


class Plain(Observer, pytorch_lightning.Callback):  # before 2.6 that package takes callbacks of its own only
    """Observes without comparing."""

    def consume(self, stage, seen, *_):
        if seen is not None:
            self.seen.append((stage, seen.task))


def same(a, b):
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool((a == b).all()) if hasattr(a, "all") else a == b


def torch_is_itself():
    return all(getattr(owner, name) is real for owner, name, real, _, _ in _slots()[0])


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_training_with_and_without(kind):
    observer = Plain()
    bare, seen = train(kind, []), train(kind, [observer])
    for part in bare:
        assert same(bare[part], seen[part]), part
    stages = [stage for stage, _ in observer.seen]
    assert min(stages.count("train"), stages.count("val")) >= 5
    assert observer.capture.faults.first is None
    assert torch_is_itself()


def test_the_same_with_loader_workers():
    assert same(train("dropout", [], workers=1), train("dropout", [Plain()], workers=1))


class Failing(Module):
    def training_step(self, batch, batch_idx):
        F.cross_entropy(self(batch[0]), batch[1])
        raise ArithmeticError("user")


def test_an_exception_of_the_step_passes_and_everything_is_put_back():
    module, observer = Failing(), Plain()
    batches = [(torch.randn(4, 8), torch.randint(4, (4,)))]
    trainer = Trainer(
        max_epochs=1,
        callbacks=[observer],
        logger=False,
        enable_checkpointing=False,
        accelerator="cpu",
        limit_val_batches=0,
    )
    trainer.progress_bar_callback.disable()
    loader = torch.utils.data.DataLoader(batches, batch_size=None)
    with pytest.raises(ArithmeticError, match="user"):
        trainer.fit(module, loader, loader)
    assert torch_is_itself()
    assert observer.capture._log.calls == []
    observer.capture.remove()
    assert "training_step" not in vars(module)


def captured(module, batch):
    capture = StepCapture(module)
    capture.install()
    return capture


BATCH = (torch.randn(5, 4), torch.arange(5) % 3)


def test_install_and_remove_twice():
    module = Net()
    before = dict(vars(module))
    capture = captured(module, BATCH)
    capture.install()
    capture.remove()
    capture.remove()
    assert vars(module) == before


def test_two_fits_of_one_module_and_two_captures_at_once():
    module = Net()
    first, second = captured(module, BATCH), captured(module, BATCH)
    for capture in (first, second):
        capture.begin("train", BATCH, 0)
    module.training_step(BATCH, 0)
    assert first.end(None).task == second.end(None).task == "multiclass"
    second.remove()
    first.remove()
    assert "training_step" not in vars(module)
    assert torch_is_itself()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_of_an_observed_module_is_the_plain_module(duplicate):
    module = Net()
    capture = captured(module, BATCH)
    twin = duplicate(module)
    assert isinstance(twin.training_step, type(module.net.forward))
    assert twin.training_step.__self__ is twin
    capture.begin("train", BATCH, 0)
    twin.training_step(BATCH, 0)
    assert capture.end(None) is None
    capture.remove()


def test_an_observed_module_can_be_saved():
    module = Net()
    capture = captured(module, BATCH)
    stored = io.BytesIO()
    torch.save(module, stored)
    capture.remove()
    assert stored.tell()


def test_an_error_of_ours_does_not_reach_the_step(monkeypatch):
    module = Net()
    capture = captured(module, BATCH)
    monkeypatch.setattr("lightning_diag.capture.choices.choose", lambda *_: 1 / 0)
    for _ in range(5):
        capture.begin("train", BATCH, 0)
        assert torch.isfinite(module.training_step(BATCH, 0))
        assert capture.end(None) is None
    assert isinstance(capture.faults.first, ZeroDivisionError)
    assert "ZeroDivisionError" in capture.facts("train").problem


def test_steps_that_are_not_announced_or_not_wanted_are_not_read():
    module = Net()
    capture = captured(module, BATCH)
    module.training_step(BATCH, 0)
    capture.begin("train", BATCH, 0, enabled=False)
    module.training_step(BATCH, 0)
    assert capture.end(None) is None
    assert capture.stages == ()


def test_no_graph_is_kept():
    class Watched(nn.Module):
        def training_step(self, batch, batch_idx):
            self.loss = F.cross_entropy(batch[0] * self.scale, batch[1])
            return self.loss

        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

    module, batch = Watched(), (torch.randn(5, 3), torch.arange(5) % 3)
    capture = captured(module, batch)
    for _ in range(3):
        capture.begin("train", batch, 0)
        module.training_step(batch, 0)
        seen = capture.end(None)
        assert seen.preds.grad_fn is None
        assert seen.loss.grad_fn is None
        assert not capture._log.calls
        assert not capture._recording.tapper.visits
