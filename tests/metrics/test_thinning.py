"""Large training batches are read at evenly spaced positions, each with its own target."""

import pytest
import torch

from lightning_diag.metrics.classification import StageMetrics
from lightning_diag.metrics.rows import Spec, read_every, thinned

CASES = {
    "tokens": ((600, 50), 1, "dense"),
    "sequences": ((4, 50, 300), 1, "dense"),
    "channels last": ((4, 300, 50), -1, "dense"),
    "images": ((2, 5, 40, 60), 1, "dense"),
}


def pair(shape, class_dim):
    """Scores whose largest one is at the target, except for every fifth position."""
    torch.manual_seed(0)
    classes = shape[class_dim]
    positions = [size for axis, size in enumerate(shape) if axis != class_dim % len(shape)]
    target = torch.randint(0, classes, positions)
    said = torch.where(torch.rand(positions) < 0.2, (target + 1) % classes, target)
    return torch.nn.functional.one_hot(said, classes).float().movedim(-1, class_dim), target


@pytest.mark.parametrize("name", CASES)
def test_positions_keep_their_targets(name):
    shape, class_dim, task = CASES[name]
    scores, target = pair(shape, class_dim)
    spec = Spec(task, "logits", class_dim, None)
    stride = 0
    for turn in range(16):
        few, labels, stride = thinned(scores, target, spec, scores.numel() // 8, turn)
        assert few.numel() <= scores.numel() // 7
        assert few.numel() == labels.numel() * shape[class_dim]
        assert few.data_ptr() >= scores.data_ptr()  # a view
        hit = (few.argmax(class_dim) == labels).float().mean()
        assert 0.6 < hit < 0.95
    assert stride == 8


def test_every_position_has_its_turn():
    scores, target = torch.zeros(64, 4), torch.arange(64)
    spec = Spec("dense", "logits", 1, None)
    met = torch.cat([thinned(scores, target, spec, 64, turn)[1] for turn in range(4)])
    assert sorted(met.tolist()) == list(range(64))


def test_a_small_batch_is_read_whole():
    scores, target = pair((40, 5), 1)
    assert thinned(scores, target, Spec("multiclass", "logits", 1, None), 200, 3)[2] == 1


def test_counts_rest_on_what_was_read():
    scores, target = pair((800, 50), 1)
    metrics = StageMetrics(most_scores=4_000)
    for _ in range(5):
        metrics.update(scores, target)
    result = metrics.compute()
    assert (result.n, metrics.stride) == (5 * 80, 10)
    assert 0.7 < result.correct / result.n < 0.9


def test_a_long_epoch_reads_some_of_its_large_batches_and_the_losses_of_all():
    assert [read_every(batches) for batches in (1, 127, 128, 400, 10**6, float("inf"))] == [1, 1, 2, 6, 8, 8]
    scores, target = pair((800, 50), 1)
    metrics = StageMetrics(most_scores=4_000)
    metrics.read_every = 3
    for step in range(7):
        metrics.accumulate(scores, target, task="multiclass", kind="logits", loss=torch.tensor(float(step)))
    result = metrics.compute()
    assert result.n == 3 * 80  # of batches 0, 3 and 6
    assert result.values()["loss"] == pytest.approx(3.0)
    small = StageMetrics(most_scores=40_000)
    small.read_every = 3
    for _ in range(2):
        small.accumulate(scores, target, task="multiclass", kind="logits")
    assert small.compute().n == 2 * 800


def test_binary_and_multilabel():
    scores = torch.randn(1_000, 1)
    metrics = StageMetrics(most_scores=100)
    metrics.update(scores, (scores > 0).float(), task="binary")
    assert (metrics.compute().n, metrics.compute().correct) == (100, 100)
    labels = StageMetrics(most_scores=100)
    scores = torch.randn(200, 5)
    labels.update(scores, (scores > 0).float(), task="multilabel", class_dim=1)
    assert (labels.compute().n, labels.compute().correct) == (20, 20)
