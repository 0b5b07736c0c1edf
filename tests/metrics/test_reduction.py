"""Ranks: one summed collective per epoch, equal to one process on the same data."""

import functools
import operator

import pytest
import torch
from processes import in_own_process
from torch import multiprocessing as mp

from lightning_diag.metrics.classification import StageMetrics
from lightning_diag.metrics.memory import SampleMemory


def batches(classes=5):
    g = torch.Generator().manual_seed(0)
    sizes = (16, 16, 16, 7)
    return [(torch.randn(n, classes, generator=g), torch.randint(0, classes, (n,), generator=g)) for n in sizes]


def reduce_all(ranks):
    """What an all_reduce of the packed vectors gives each rank."""
    for metrics in ranks:
        metrics.flush()
    classes = max(m._layout.classes for m in ranks)
    for metrics in ranks:
        metrics.agree(lambda mine: torch.tensor([classes, int(mine[1])]))
    total = functools.reduce(operator.add, [m.packed().clone() for m in ranks])
    for metrics in ranks:
        metrics.reduce(lambda _: total)
    return [m.result() for m in ranks]


def same(a, b):
    assert (a.n, a.correct, a.samples, a.loss_steps) == (b.n, b.correct, b.samples, b.loss_steps)
    assert a.support.tolist() == b.support.tolist()
    assert a.predicted.tolist() == b.predicted.tolist()
    assert a.hits.tolist() == b.hits.tolist()
    assert a.loss == pytest.approx(b.loss)
    assert a.ece == pytest.approx(b.ece)
    assert a.entropy == pytest.approx(b.entropy)


def feed(metrics, pairs):
    for preds, target in pairs:
        metrics.update(preds, target, loss=preds.sum())
    return metrics


@pytest.mark.parametrize("classes", [5, 400])
@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_sum_to_one_process(classes, ranks):
    pairs = batches(classes)
    alone = feed(StageMetrics(sure_cells=2**20), pairs).result()
    parts = [feed(StageMetrics(sure_cells=2**20), pairs[r::ranks]) for r in range(ranks)]
    for result in reduce_all(parts):
        same(result, alone)


def test_a_rank_without_a_batch():
    pairs = batches()
    empty = StageMetrics()
    results = reduce_all([feed(StageMetrics(), pairs), empty])
    same(results[1], feed(StageMetrics(), pairs).result())
    assert empty.collectives == 2  # the agreement of the first epoch, and the sum


def test_later_epochs_cost_one_collective():
    metrics = StageMetrics()
    for epoch in range(3):
        feed(metrics, batches())
        before = metrics.collectives
        metrics.agree(lambda mine: mine)
        metrics.reduce(lambda vector: vector)
        assert metrics.collectives - before == (2 if epoch == 0 else 1)
        metrics.result()
        metrics.reset()


def test_pairs_are_summed_too():
    g = torch.Generator().manual_seed(1)
    target = torch.randint(0, 3, (60,), generator=g)
    epochs = [torch.randn(60, 3, generator=g) for _ in range(2)]
    alone = StageMetrics(memory=SampleMemory())
    ranks = [StageMetrics(memory=SampleMemory()) for _ in range(2)]
    for epoch, logits in enumerate(epochs):
        alone.update(logits, target)
        wanted = alone.result().paired
        for r, metrics in enumerate(ranks):
            metrics.update(logits[r::2], target[r::2])
        results = reduce_all(ranks)
        for metrics in [alone, *ranks]:
            metrics.memory.settle(epoch, best=True)
            metrics.reset()
    assert results[0].paired.gained == wanted.gained
    assert results[1].paired.both == wanted.both
    assert results[1].paired.loss_delta_sem == pytest.approx(wanted.loss_delta_sem)


def test_one_rank_in_another_order_unpairs_all():
    ranks = [StageMetrics(memory=SampleMemory()) for _ in range(2)]
    for epoch in range(2):
        for r, metrics in enumerate(ranks):
            order = torch.arange(8) if epoch * r == 0 else torch.arange(8).flip(0)
            metrics.update(torch.eye(8)[order], order)
        results = reduce_all(ranks)
        for metrics in ranks:
            metrics.memory.settle(epoch, best=True)
            metrics.reset()
    assert results[0].paired is None
    assert results[1].paired is None


def _work(rank, ranks, folder):
    import torch.distributed as dist

    calls, real = [], dist.all_reduce

    def counting(vector, *args, **kwargs):
        calls.append(vector.numel())
        return real(vector, *args, **kwargs)

    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks)
    dist.all_reduce = counting
    metrics = StageMetrics()
    for epoch in range(2):
        calls.clear()
        feed(metrics, batches()[rank::ranks] if rank < 3 else [])
        result = metrics.compute()
        feed(metrics, batches()[rank::ranks][:1] if rank < 3 else [])  # after unsync the rank goes on by itself
        if epoch == 0:
            first = result
        metrics.reset()
    torch.save((len(calls), first.n, first.correct, first.support.tolist()), f"{folder}/{rank}.out")
    dist.barrier()


@pytest.mark.reliability
def test_gloo_processes_give_what_one_process_gives(tmp_path):
    def both():
        mp.start_processes(_work, args=(2, tmp_path), nprocs=2, start_method="fork")

    assert in_own_process(both, log=tmp_path / "log") == 0, (tmp_path / "log").read_text()
    alone = feed(StageMetrics(), batches()).compute()
    for rank in range(2):
        calls, n, correct, support = torch.load(tmp_path / f"{rank}.out")
        assert calls == 1
        assert (n, correct, support) == (alone.n, alone.correct, alone.support.tolist())
