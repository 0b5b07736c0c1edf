"""Gradient signals against hand computation, and what they leave alone."""

import itertools
import math

import pytest
import torch
from torch import nn

from lightning_diag.history import Count
from lightning_diag.signals.gradients import GradientSignals, block_of
from lightning_diag.signals.sampling import PairSchedule


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))


def step(model, optimizer, signals, *, zero=True, scale=1.0, data=None):
    x = torch.randn(8, 6) if data is None else data
    loss = scale * model(x).square().mean()
    if zero:
        optimizer.zero_grad()
    signals.before_backward()
    loss.backward()
    signals.before_step(optimizer)
    norm = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm()
    optimizer.step()
    return float(norm)


def train(steps=10, clip=None, **options):
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    signals = GradientSignals(model, clip=clip)
    signals.start_epoch(steps)
    norms = [step(model, optimizer, signals, **options) for _ in range(steps)]
    return model, signals, norms


def test_norms_equal_the_true_ones():
    _, signals, norms = train()
    values = signals.finish().values
    assert values["grad/norm"] == pytest.approx(sum(norms) / len(norms), rel=1e-5)
    assert values["grad/norm_max"] == pytest.approx(max(norms), rel=1e-5)
    assert values["grad/nonfinite_steps"] == 0


def test_clip_ratio_is_what_clipping_would_leave():
    _, signals, norms = train(clip=0.1)
    expected = sum(min(1, 0.1 / n) for n in norms) / len(norms)
    assert signals.finish().values["grad/clip_ratio"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("clip", [1e-4, 0.02, 10.0])
def test_clip_ratio_by_value_is_the_most_that_the_tensors_allow(clip):
    torch.manual_seed(0)
    model = net()
    signals = GradientSignals(model, clip=clip, by_value=True)
    signals.start_epoch(1)
    step(model, torch.optim.SGD(model.parameters(), 0.01), signals)
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    whole = torch.cat([g.flatten() for g in grads])
    kept = float(whole.clamp(-clip, clip).norm() / whole.norm())
    allowed = sum(min(float(g.norm()), clip * g.numel() ** 0.5) ** 2 for g in grads) ** 0.5 / float(whole.norm())
    ratio = signals.finish().values["grad/clip_ratio"]
    assert ratio == pytest.approx(allowed, rel=1e-5)
    assert kept <= ratio * (1 + 1e-6)


def test_no_clip_ratio_without_clipping():
    _, signals, _ = train()
    assert "grad/clip_ratio" not in signals.finish().values


def test_cosine_of_equal_batches_is_one():
    _, signals, _ = train(data=torch.ones(8, 6))
    assert signals.finish().values["grad/cosine"] > 0.99


def test_kept_gradients_are_seen_and_zeroed_ones_are_not():
    _, kept, _ = train(zero=False)
    _, zeroed, _ = train()
    assert kept.kept == Count(k=9, n=9)
    assert zeroed.kept == Count(k=0, n=9)


def test_accumulation_is_not_a_kept_gradient():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    signals = GradientSignals(model)
    signals.start_epoch(4)
    for _ in range(4):
        optimizer.zero_grad()
        for _ in range(3):
            signals.before_backward()
            model(torch.randn(8, 6)).mean().backward()
        signals.before_step(optimizer)
        optimizer.step()
    assert signals.kept == Count(k=0, n=3)


def test_a_second_optimizer_makes_kept_gradients_unknown():
    model, signals, _ = train(zero=False)
    signals.before_step(torch.optim.SGD(model.parameters(), 0.1))
    assert signals.kept is None


def test_parameters_without_gradient():
    model = nn.ModuleDict({"used": nn.Linear(4, 2), "unused": nn.Linear(4, 2)})
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    signals = GradientSignals(model)
    assert signals.without_grad is None
    signals.start_epoch(1)
    model["used"](torch.randn(3, 4)).sum().backward()
    signals.before_step(optimizer)
    assert signals.without_grad == 0.5


def test_first_over_last_matrix_and_blocks():
    model, signals, _ = train(steps=1)
    summary = signals.finish()
    first, last = model[0].weight.grad.norm(), model[2].weight.grad.norm()
    assert summary.values["grad/first_last_ratio"] == pytest.approx(float(first / last), rel=1e-5)
    block = torch.cat([model[0].weight.grad.flatten(), model[0].bias.grad]).norm()
    assert summary.blocks["0"] == pytest.approx(float(block), rel=1e-5)


def test_nonfinite_gradients_are_counted_and_left_out_of_the_mean():
    _, signals, _ = train(steps=2, scale=math.inf)
    assert signals.finish().values == {"grad/nonfinite_steps": 2.0}


def test_half_precision_norms_do_not_overflow():
    model = nn.Linear(200, 200).half()
    for p in model.parameters():
        p.grad = torch.full_like(p, 1000.0)
    signals = GradientSignals(model)
    signals.start_epoch(1)
    signals.before_step(object())
    assert signals.finish().values["grad/norm"] == pytest.approx(1000 * 40200**0.5, rel=1e-3)


def test_no_gradients_give_no_signals():
    signals = GradientSignals(net())
    signals.start_epoch(3)
    signals.before_step(object())
    assert signals.finish().values == {}


def test_gradients_are_not_touched():
    model, signals, _ = train(steps=3)
    before = [p.grad.clone() for p in model.parameters()]
    signals.finish()
    assert all(torch.equal(a, p.grad) for a, p in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("steps", [5, 31, 100, 5000])
def test_schedule_is_bounded_and_takes_pairs(steps):
    schedule = PairSchedule(first=0)
    schedule.start(steps)
    taken = [i for i in range(steps) if schedule.take()]
    assert len(taken) <= 2 * schedule.pairs
    assert any(b - a == 1 for a, b in itertools.pairwise(taken))


def test_schedule_without_a_length_takes_ever_fewer_steps():
    schedule = PairSchedule(first=0)
    schedule.start(None)
    taken = [i for i in range(10_000) if schedule.take()]
    assert len(taken) < 40
    assert any(b - a == 1 for a, b in itertools.pairwise(taken) if a > 1000)


def test_schedule_takes_all_first_steps():
    schedule = PairSchedule(first=16)
    schedule.start(1000)
    assert all(schedule.take() for _ in range(16))


@pytest.mark.parametrize(("name", "block"), [("a.b.c.weight", "a.b"), ("weight", "weight"), ("head.bias", "head")])
def test_block_names(name, block):
    assert block_of(name) == block
