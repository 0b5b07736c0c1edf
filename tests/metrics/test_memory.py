"""Per-sample memory: pairing, thinning, order, surest mistakes."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lightning_diag.metrics.classification import StageMetrics
from lightning_diag.metrics.memory import SampleMemory


def evaluate(metrics, logits, target, epoch, *, best=True, size=16):
    for x, y in zip(logits.split(size), target.split(size), strict=True):
        metrics.update(x, y)
    result = metrics.compute()
    metrics.memory.settle(epoch, best=best)
    metrics.reset()
    return result


def test_pairs_equal_a_hand_count():
    g = torch.Generator().manual_seed(0)
    a, b, target = (
        torch.randn(90, 4, generator=g),
        torch.randn(90, 4, generator=g),
        torch.randint(0, 4, (90,), generator=g),
    )
    metrics = StageMetrics(memory=SampleMemory())
    assert evaluate(metrics, a, target, 3).paired is None
    paired = evaluate(metrics, b, target, 4, size=32).paired
    then, now = a.argmax(1) == target, b.argmax(1) == target
    assert paired.reference_epoch == 3
    assert (paired.both, paired.gained) == (int((then & now).sum()), int((~then & now).sum()))
    assert (paired.lost, paired.neither) == (int((then & ~now).sum()), int((~then & ~now).sum()))
    delta = F.cross_entropy(b, target, reduction="none") - F.cross_entropy(a, target, reduction="none")
    assert paired.loss_delta_mean == pytest.approx(float(delta.mean()), abs=1e-5)
    assert paired.loss_delta_sem == pytest.approx(float(delta.std() / 90**0.5), abs=1e-5)


def test_only_the_best_is_the_reference():
    logits, target = torch.eye(3).repeat(4, 1), torch.arange(12) % 3
    metrics = StageMetrics(memory=SampleMemory())
    evaluate(metrics, logits, target, 0)
    evaluate(metrics, -logits, target, 1, best=False)
    assert evaluate(metrics, logits, target, 2, best=False).paired.both == 12


def test_another_order_is_not_paired():
    logits, target = torch.randn(40, 3), torch.arange(40) % 3
    metrics = StageMetrics(memory=SampleMemory())
    evaluate(metrics, logits, target, 0)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    assert evaluate(metrics, logits[order], target[order], 1).paired is None


def test_other_length_is_not_paired():
    logits, target = torch.randn(40, 3), torch.arange(40) % 3
    metrics = StageMetrics(memory=SampleMemory())
    evaluate(metrics, logits, target, 0)
    assert evaluate(metrics, logits[:39], target[:39], 1).paired is None


def test_memory_is_bounded_and_evenly_thinned():
    memory = SampleMemory(limit=100)
    for start in range(0, 1000, 50):
        index = torch.arange(start, start + 50)
        memory.add(index % 2 == 0, index, loss=index.float())
    memory.settle(0, best=True)
    kept = memory.best.loss
    assert len(kept) <= 100
    assert len(np.unique(np.diff(kept))) == 1


def test_missing_losses_leave_the_pairs():
    memory = SampleMemory()
    for epoch in range(2):
        memory.add(torch.tensor([True, False]), torch.tensor([0, 1]))
        paired = memory.paired(memory.compare().numpy())
        memory.settle(epoch, best=True)
        memory.restart()
    assert (paired.both, paired.neither, paired.loss_delta_mean) == (1, 1, None)


def test_surest_mistakes_come_first():
    logits = torch.tensor([[5.0, 0.0], [0.0, 9.0], [0.0, 1.0], [3.0, 0.0]])
    metrics = StageMetrics(memory=SampleMemory())
    metrics.update(logits, torch.tensor([0, 0, 0, 1]))
    metrics.compute()
    found = metrics.memory.surest_mistakes()
    assert [s.index for s in found] == [1, 3, 2]
    assert found[0].reference == (0,)
    assert found[0].prediction == (1,)
    assert found[0].loss == pytest.approx(9.0, abs=1e-3)


def test_a_perfect_epoch_has_no_mistakes():
    metrics = StageMetrics(memory=SampleMemory())
    metrics.update(torch.eye(3), torch.arange(3))
    metrics.compute()
    assert metrics.memory.surest_mistakes() == ()


def test_dense_positions_are_not_paired():
    metrics = StageMetrics(memory=SampleMemory())
    metrics.update(torch.randn(2, 3, 8), torch.zeros(2, 8, dtype=torch.long), task="dense")
    metrics.compute()
    assert len(metrics.memory.current.right) == 0


def test_multilabel_samples_are_paired():
    metrics = StageMetrics(memory=SampleMemory())
    target = torch.tensor([[1, 0], [0, 1]])
    for epoch, logits in enumerate((target * 2.0 - 1, 1 - target * 2.0)):
        metrics.update(logits, target, task="multilabel")
        paired = metrics.compute().paired
        metrics.memory.settle(epoch, best=epoch == 0)
        metrics.reset()
    assert paired.lost == 2
