"""What a step may cost: no copy of large scores, a bounded number of operations, no read from the device."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_diag.metrics.classification import StageMetrics
from lightning_diag.metrics.held import HELD_STEPS

READS = {"aten._local_scalar_dense.default", "aten.nonzero.default", "aten.item.default", "aten.masked_select.default"}


class Watch(TorchDispatchMode):
    """Notes every operation and the largest tensor that it newly made."""

    def __init__(self):
        super().__init__()
        self.names, self.largest = [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.names.append(str(func))
        known = {t.untyped_storage().data_ptr() for t in args if isinstance(t, torch.Tensor)}
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().data_ptr() not in known:
                self.largest = max(self.largest, tensor.numel() * tensor.element_size())
        return result


def test_language_model_scores_are_not_copied():
    logits = torch.zeros(8 * 128, 50_000, dtype=torch.bfloat16)
    target = torch.randint(0, 50_000, (8 * 128,))
    metrics = StageMetrics()
    metrics.update(logits[:64], target[:64])
    metrics.flush()
    for shape in ((8 * 128, 50_000), (8, 128, 50_000)):
        with Watch() as watch:
            metrics.update(logits.view(shape), target.view(shape[:-1]), class_dim=-1)
        assert watch.largest < 0.05 * logits.numel() * logits.element_size()


def test_segmentation_scores_are_not_copied():
    logits, target = torch.randn(2, 20, 96, 96), torch.randint(0, 20, (2, 96, 96))
    metrics = StageMetrics(20)
    with Watch() as watch:
        metrics.update(logits, target, task="dense")
    assert watch.largest <= 8 * target.numel()


def test_a_small_step_is_three_copies_into_memory_made_once():
    preds, target, loss = torch.randn(32, 10), torch.zeros(32, dtype=torch.long), torch.tensor(1.0)
    metrics = StageMetrics()
    for _ in range(2):
        metrics.update(preds, target, loss=loss)
    with Watch() as watch:
        metrics.update(preds, target, loss=loss)
    assert [n for n in watch.names if n != "aten.detach.default"] == ["aten._foreach_copy_.default"] * 2


def test_steps_read_nothing_from_the_device():
    preds, target, loss = torch.randn(32, 10), torch.zeros(32, dtype=torch.long), torch.tensor(1.0)
    metrics = StageMetrics()
    metrics.update(preds, target)
    metrics.flush()
    with Watch() as watch:
        for _ in range(HELD_STEPS):
            metrics.update(preds, target, ignore_index=-100, loss=loss)
    assert not READS & set(watch.names)
    assert len(watch.names) < 10 * HELD_STEPS


def test_memory_is_in_the_order_of_the_classes():
    metrics = StageMetrics()
    for _ in range(10):
        metrics.update(torch.randn(8, 30_000), torch.zeros(8, dtype=torch.long))
    assert metrics.counts.numel() < 3 * 30_000 + 200
