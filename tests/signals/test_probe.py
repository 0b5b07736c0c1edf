"""The probe finds the predicting part, evaluates it in eval mode, and leaves no trace."""

import random
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_diag.signals.dead import DeadUnits
from lightning_diag.signals.keeping import kept_as_it_is
from lightning_diag.signals.norms import NormWatch
from lightning_diag.signals.probe import ModuleProbe
from lightning_diag.signals.visits import VisitWatch


def seen(preds, target, **options):
    defaults = {
        "task": "multiclass", "kind": "logits", "class_dim": 1,
        "ignore_index": None, "weight": None, "label_smoothing": 0.0, "by_element": False,
    }  # fmt: skip
    return SimpleNamespace(preds=preds.detach(), target=target, **(defaults | options))


class Classifier(nn.Module):
    """A module as users write them; ``style`` says how the step gets from the batch to the predictions."""

    def __init__(self, style="forward"):
        super().__init__()
        self.style = style
        self.backbone = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(16, 3)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.head(self.backbone(x))

    def training_step(self, batch):
        x, y = batch
        if self.style == "functional":
            preds = self.head(torch.tanh(self.backbone(x * 2)))
        elif self.style == "normalised":
            preds = self(x).log_softmax(1)
        else:
            preds = self(x)
        kind = "log_probs" if self.style == "normalised" else "logits"
        return F.cross_entropy(preds, y), seen(preds, y, kind=kind)


def batch(n=24, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, 6, generator=g), torch.randint(0, 3, (n,), generator=g)


def steps(model, probe, n=3, stage="train"):
    model.train(stage == "train")
    for i in range(n):
        probe.before(stage)
        loss, observation = model.training_step(batch(seed=i))
        if stage == "train":
            loss.backward()
        probe.after(stage, observation)
        model.zero_grad()


def test_kept_batches_are_evaluated_in_eval_mode():
    model = Classifier()
    probe = ModuleProbe(model, batches=2)
    steps(model, probe)
    result = probe.run()
    assert len(result.train) == 2
    model.eval().requires_grad_(False)
    for i, output in enumerate(result.train):
        x, y = batch(seed=i)
        torch.testing.assert_close(output.preds, model(x))
        assert float(output.loss) == pytest.approx(float(F.cross_entropy(model(x), y)), abs=1e-6)


def test_normalised_predictions_are_found_by_value():
    model = Classifier("normalised")
    probe = ModuleProbe(model)
    steps(model, probe)
    assert probe.run() is None
    steps(model, probe)
    output = probe.run().train[0]
    assert torch.allclose(output.preds.exp().sum(1), torch.ones(24), atol=1e-5)


def test_predictions_that_no_part_gives_are_said():
    model = Classifier("functional")
    probe = ModuleProbe(model)
    steps(model, probe)
    assert probe.run() is None
    assert "no part" in probe.why_not


def test_no_hooks_stay():
    model = Classifier()
    probe = ModuleProbe(model)
    steps(model, probe)
    probe.run()
    probe.close()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_no_trace_in_weights_buffers_modes_and_random_states():
    model = Classifier()
    probe = ModuleProbe(model)
    steps(model, probe)
    model.head.eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    modes = [m.training for m in model.modules()]
    probe.run()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert (np.random.get_state()[1] == states[2]).all()  # noqa: NPY002


def test_switched_off():
    model = Classifier()
    probe = ModuleProbe(model, batches=0)
    steps(model, probe)
    assert probe.run() is None


def test_steps_without_capture_are_skipped():
    model = Classifier()
    probe = ModuleProbe(model)
    probe.before("train")
    model.training_step(batch())
    probe.after("train", None)
    assert probe.run() is None
    steps(model, probe)
    assert probe.run() is not None


class AlwaysDropping(Classifier):
    def forward(self, x):
        return F.dropout(super().forward(x), 0.5)


@pytest.mark.parametrize(("kind", "differs"), [(Classifier, False), (AlwaysDropping, True)])
def test_two_forwards_of_a_validation_batch(kind, differs):
    model = kind()
    probe = ModuleProbe(model)
    steps(model, probe)
    steps(model, probe, n=1, stage="val")
    assert (probe.run().nondeterministic > 1e-3) is differs


class Large(Classifier):
    """Answers of the order of 10,000 with noise of a thousandth, as kernels that are not deterministic make it."""

    def forward(self, x):
        return 1e4 * super().forward(x) + 1e-3 * torch.rand(len(x), 1)


def test_a_difference_is_held_against_the_size_of_the_outputs():
    model = Large()
    probe = ModuleProbe(model)
    steps(model, probe)
    steps(model, probe, n=1, stage="val")
    assert 0 < probe.run().nondeterministic < 1e-5


def test_twice_only_in_the_first_evaluations():
    model = Classifier()
    probe = ModuleProbe(model)
    steps(model, probe)
    steps(model, probe, n=1, stage="val")
    found = [probe.run().nondeterministic for _ in range(5)]
    assert [f is None for f in found] == [False] * 3 + [True] * 2


def test_dead_units():
    model = Classifier()
    probe = ModuleProbe(model)
    steps(model, probe)
    assert probe.run().values["relu/dead_share"] < 0.2
    with torch.no_grad():
        model.backbone[1].bias[:12] = -50.0
    assert probe.run().values["relu/dead_share"] == pytest.approx(12 / 16)


class Conv(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
        nn.init.constant_(self.net[0].bias, -99.0)

    def training_step(self, batch):
        preds = self.net(batch[0])
        return preds.sum(), seen(preds, batch[1])


def test_dead_channels():
    model, probe = Conv(), None
    probe = ModuleProbe(model)
    for _ in range(2):
        probe.before("train")
        _, observation = model.training_step((torch.randn(20, 1, 8, 8), torch.zeros(20).long()))
        probe.after("train", observation)
    assert probe.run().values == {"relu/dead_share": 1.0}


@dataclass
class Output:
    loss: Any
    logits: torch.Tensor


class Tagger(nn.Module):
    """Token labelling with an output object and flattened predictions."""

    def __init__(self):
        super().__init__()
        self.net = TaggerNet()

    def training_step(self, batch):
        logits = self.net(inputs=batch[0]).logits
        preds, target = logits.view(-1, 5), batch[1].view(-1)
        return F.cross_entropy(preds, target), seen(preds, target, task="dense", ignore_index=-100)


class TaggerNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(6, 5)

    def forward(self, inputs):
        return Output(None, self.body(inputs))


def test_keyword_inputs_output_objects_and_joined_positions():
    model = Tagger()
    probe = ModuleProbe(model, batches=1)
    x, y = torch.randn(4, 7, 6), torch.randint(0, 5, (4, 7))
    y[:, 5:] = -100
    probe.before("train")
    loss, observation = model.training_step((x, y))
    probe.after("train", observation)
    output = probe.run().train[0]
    assert output.preds.shape == (28, 5)
    assert float(output.loss) == pytest.approx(float(loss.detach()), abs=1e-6)


def test_weights_and_smoothing_of_the_loss_are_used():
    model = Classifier()
    probe = ModuleProbe(model, batches=1)
    weight = torch.tensor([1.0, 5.0, 0.2])
    x, y = batch()
    probe.before("train")
    preds = model(x)
    probe.after("train", seen(preds, y, weight=weight, label_smoothing=0.1))
    output = probe.run().train[0]
    wanted = F.cross_entropy(output.preds, y, weight=weight, label_smoothing=0.1)
    assert float(output.loss) == pytest.approx(float(wanted), abs=1e-6)


def test_one_class_against_the_rest_is_not_made_again_as_a_cross_entropy():
    model = Classifier()
    probe = ModuleProbe(model, batches=1)
    x, y = torch.randn(8, 6), torch.randint(0, 3, (8,))
    probe.before("train")
    probe.after("train", seen(model(x), y, by_element=True))
    assert probe.run().train[0].loss is None


def test_compiled_parts_are_watched_from_outside():
    model = nn.Module()
    model.net = torch.compile(nn.Sequential(nn.Linear(2, 2)), backend="eager")
    watch = VisitWatch(model)
    model.net(torch.randn(3, 2))
    assert [v.name for v in watch.remove()] == ["net"]


def test_state_is_restored_after_an_error():
    model = Classifier().train()

    def broken():
        with kept_as_it_is(model):
            model.eval()
            model.backbone[1].running_mean.fill_(7.0)
            model.backbone[1].register_buffer("running_var", torch.zeros(16))
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        broken()
    assert model.training
    assert float(model.backbone[1].running_mean.sum()) == 0
    assert float(model.backbone[1].running_var.sum()) == 16


def pretrained(mean=2.0, std=3.0):
    model = nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 2), nn.BatchNorm1d(2))
    model[0].running_mean.fill_(mean)
    model[0].running_var.fill_(std**2)
    return model


def test_inputs_like_those_of_pretraining():
    model = pretrained()
    watch = NormWatch(model)
    with torch.no_grad():
        model.eval()(torch.zeros(9, 5))
    model.train()(torch.randn(500, 5) * 3 + 2)
    shift, scale = watch.read()
    assert shift < 0.15
    assert scale == pytest.approx(1, abs=0.1)
    assert not model[0]._forward_pre_hooks


def test_inputs_on_another_scale():
    model = pretrained()
    watch = NormWatch(model)
    model(torch.randn(500, 5) * 30 + 11)
    shift, scale = watch.read()
    assert shift == pytest.approx(3, abs=1)
    assert scale == pytest.approx(10, abs=1)


def test_fresh_normalisation_remembers_nothing():
    model = nn.Sequential(nn.BatchNorm1d(5))
    watch = NormWatch(model)
    model(torch.randn(9, 5))
    assert watch.read() is None


def test_units_are_not_called_dead_after_a_few_looks():
    """Each unit of a healthy sparse layer fires on one sample of 200; in 16 samples nine tenths of them are silent."""
    layer = nn.Sequential(nn.Identity(), nn.ReLU())
    sparse = (torch.rand(64, 400, generator=torch.Generator().manual_seed(0)) < 1 / 200).float()
    with DeadUnits(layer) as few:
        layer(sparse[:16])
    assert few.values() == {}
    with DeadUnits(layer) as enough:
        layer(sparse)
    assert enough.values()["relu/dead_share"] < 0.9
