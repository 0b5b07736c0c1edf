import torch
import torch.nn.functional as F
from torch import nn

from lightning_diag.capture import StepCapture, interception
from lightning_diag.capture.calls import LossEntry


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(4, 3)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.cross_entropy(self.net(x), y)


def test_pair_of_a_plain_cross_entropy():
    module, batch = Net(), (torch.randn(5, 4), torch.arange(5) % 3)
    capture = StepCapture(module)
    capture.install()
    capture.begin("train", batch, 0)
    loss = module.training_step(batch, 0)
    seen = capture.end(loss)
    capture.remove()
    assert seen.task == "multiclass"
    assert not seen.preds.requires_grad
    assert torch.equal(seen.preds, module.net(batch[0]))
    assert seen.target is not batch[1]
    assert seen.target.data_ptr() == batch[1].data_ptr()
    assert seen.loss == loss
    assert "training_step" not in module.__dict__
    assert capture.faults.first is None


class NowAndThenAnother(Net):
    """Every sixth step, never one in which all losses are listened for, calls another loss."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        logits = self.net(x)
        return F.nll_loss(logits.log_softmax(1), y) if batch_idx % 6 == 3 else F.cross_entropy(logits, y)


def test_another_loss_now_and_then_is_heard_at_its_second_and_read_from_its_third_time_on():
    module, batch = NowAndThenAnother(), (torch.randn(5, 4), torch.arange(5) % 3)
    capture = StepCapture(module)
    capture.install()
    sources = []
    for index in range(60):
        capture.begin("train", batch, index)
        seen = capture.end(module.training_step(batch, index))
        sources.append(seen and seen.source)
    capture.remove()
    assert [index for index, source in enumerate(sources) if source is None] == [3, 9]
    assert sources.count("loss call nll_loss") == 8


def test_where_torch_lacks_a_name_the_mode_listens(monkeypatch):
    gone = LossEntry(
        "cross_entropy", "torch._C._nn", "renamed_by_a_later_torch", ("input", "target"), "logits", "class"
    )
    monkeypatch.setattr(interception, "ENTRIES", (gone,))
    interception._slots.cache_clear()
    interception._slots_of.cache_clear()
    module, batch = Net(), (torch.randn(5, 4), torch.arange(5) % 3)
    capture = StepCapture(module)
    capture.install()
    capture.begin("train", batch, 0)
    seen = capture.end(module.training_step(batch, 0))
    capture.remove()
    interception._slots.cache_clear()
    interception._slots_of.cache_clear()
    assert torch.equal(seen.target, batch[1])
