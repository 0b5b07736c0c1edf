"""Update ratios, coverage, freshness."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_diag.signals.fresh import constant_share, looks_fresh, matrix_fresh
from lightning_diag.signals.weights import WeightSignals, coverage, start_facts


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_update_ratio_and_norm_equal_the_true_ones():
    model = net()
    signals = WeightSignals(model)
    signals.start()
    before = flat(model)
    with torch.no_grad():
        model[2].weight += 0.1
    values, blocks = signals.finish_epoch()
    after = flat(model)
    assert values["param/norm"] == pytest.approx(float(after.norm()), rel=1e-5)
    assert values["update/ratio"] == pytest.approx(float((after - before).norm() / after.norm()), rel=1e-4)
    assert blocks["0"] == 0
    assert blocks["2"] > 0
    assert signals.changed() == pytest.approx(1280 / flat(model).numel())


def test_second_epoch_counts_from_the_first():
    model = net()
    signals = WeightSignals(model)
    signals.start()
    with torch.no_grad():
        model[0].weight += 1
    signals.finish_epoch()
    values, _ = signals.finish_epoch()
    assert values["update/ratio"] == 0


def test_large_models_are_sampled(monkeypatch):
    monkeypatch.setattr("lightning_diag.signals.weights.COORDINATES", 2_000)
    model = net()
    signals = WeightSignals(model)
    signals.start()
    assert sum(t.numel() for t in signals._first) < 3_000
    before = flat(model)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p), alpha=0.01)
    values, _ = signals.finish_epoch()
    assert values["update/ratio"] == pytest.approx(float((flat(model) - before).norm() / flat(model).norm()), rel=0.1)


def test_nonfinite_weights_give_no_number():
    model = net()
    signals = WeightSignals(model)
    signals.start()
    with torch.no_grad():
        model[0].weight[0, 0] = torch.nan
    assert signals.finish_epoch()[0] == {}


def test_modules_without_parameters():
    signals = WeightSignals(nn.ReLU())
    signals.start()
    assert signals.finish_epoch() == ({}, {})
    assert signals.changed() is None


def test_coverage_names_the_blocks_that_are_missing():
    model = nn.ModuleDict({"backbone": nn.Sequential(nn.Linear(4, 4)), "head": nn.Linear(4, 4)})
    found = coverage(model, [torch.optim.SGD(model["head"].parameters(), 0.1)])
    assert found.missing_blocks == ("backbone",)
    assert (found.in_optimizer, found.trainable_not_in_optimizer) == (0.5, 0.5)


def test_what_is_missing_and_never_got_a_gradient_is_told_apart():
    model = nn.ModuleDict({"q": nn.Linear(4, 4), "target": nn.Linear(4, 4), "forgotten": nn.Linear(4, 4)})
    optimizers = [torch.optim.SGD(model["q"].parameters(), 0.1)]
    reached = [*model["q"].parameters(), *model["forgotten"].parameters()]
    found = coverage(model, optimizers, reached)
    assert found.missing_blocks == ("target", "forgotten")
    assert found.missing_without_grad == pytest.approx(1 / 3)
    assert coverage(model, optimizers).missing_without_grad is None, "no gradient was looked at"


def test_frozen_parameters_are_not_missing():
    model = nn.ModuleDict({"backbone": nn.Linear(4, 4).requires_grad_(False), "head": nn.Linear(4, 4)})
    found = coverage(model, [torch.optim.SGD(model["head"].parameters(), 0.1)])
    assert found.missing_blocks == ()
    assert found.trainable_not_in_optimizer == 0


def inits():
    return {
        "default": lambda w: w,
        "xavier": nn.init.xavier_normal_,
        "truncated": lambda w: nn.init.trunc_normal_(w, std=0.02),
        "kaiming": lambda w: nn.init.kaiming_normal_(w, mode="fan_out"),
        "orthogonal": nn.init.orthogonal_,
    }


@pytest.mark.parametrize("name", inits())
@pytest.mark.parametrize("seed", range(3))
def test_initialisations_look_fresh(name, seed):
    torch.manual_seed(seed)
    layers = [nn.Linear(64, 128), nn.Linear(300, 40), nn.Conv2d(16, 32, 3), nn.Linear(20, 15)]
    assert all(matrix_fresh(inits()[name](layer.weight.data)) for layer in layers)


def test_trained_weights_do_not_look_fresh():
    model = net()
    g = torch.Generator().manual_seed(0)
    x = torch.rand(400, 64, generator=g) * (torch.arange(64) % 3 > 0)
    y = (x[:, :30].sum(1) * 3).long().clamp(max=9) % 10
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    assert looks_fresh(model.parameters())
    for _ in range(100):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert looks_fresh(model.parameters()) is False


def test_freshness_of_nothing_is_unknown():
    assert looks_fresh([torch.zeros(10)]) is None


def test_start_facts_tell_frozen_from_trained():
    model = net()
    model[0].requires_grad_(False)
    with torch.no_grad():
        model[2].weight[:5] *= 20
    facts = start_facts(model)
    assert facts.frozen_fresh is True
    assert facts.constant_init == 0
    assert start_facts(net()).frozen_fresh is None


def test_constant_initialisation_is_a_share():
    model = net()
    nn.init.constant_(model[0].weight, 0.01)
    assert constant_share(model) == 0.5
    assert constant_share(nn.ReLU()) is None
