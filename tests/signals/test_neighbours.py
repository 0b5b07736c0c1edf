import numpy as np
import torch

from lightning_diag.history import DataFacts
from lightning_diag.signals.data import DataSignals
from lightning_diag.signals.neighbours import MOST, same_label_as_nearest

RNG = np.random.default_rng(0)


def test_labels_that_are_in_the_inputs_are_shared_by_neighbours():
    labels = RNG.integers(0, 3, 300)
    clusters = (labels[:, None] * 5 + RNG.normal(size=(300, 4))).astype(np.float32)
    assert same_label_as_nearest(clusters, labels)[0] >= 295
    k, n = same_label_as_nearest(clusters, RNG.permutation(labels))
    assert n == 300
    assert abs(k / n - 1 / 3) < 0.15, "shuffled labels agree by chance"


def test_what_cannot_be_compared_says_nothing():
    rows = RNG.normal(size=(100, 3)).astype(np.float32)
    labels = RNG.integers(0, 2, 100)
    assert same_label_as_nearest(rows[:20], labels[:20]) is None
    assert same_label_as_nearest(rows, np.zeros(100, np.int64)) is None
    assert same_label_as_nearest(np.ones((100, 3), np.float32), labels) is None
    assert same_label_as_nearest(rows, labels[:50]) is None
    assert same_label_as_nearest(np.full((100, 3), np.nan, np.float32), labels) is None
    assert same_label_as_nearest(np.zeros((0, 0), np.float32), np.zeros(0, np.int64)) is None


def test_work_is_bounded():
    rows, labels = RNG.normal(size=(2048, 8)).astype(np.float32), RNG.integers(0, 2, 2048)
    assert same_label_as_nearest(rows, labels)[1] <= MOST


def test_rows_keep_their_labels_when_they_are_thinned():
    signals = DataSignals()
    signals.start_epoch("train")
    for _ in range(100):
        labels = torch.randint(0, 2, (50,))
        signals.batch("train", (labels[:, None] * 20 + torch.randn(50, 3), labels), labels)
    found = signals.facts(DataFacts()).train.nearest_same
    assert found.k == found.n > 100


def test_targets_that_are_no_labels_are_not_compared():
    signals = DataSignals()
    signals.start_epoch("train")
    for _ in range(4):
        signals.batch("train", (torch.randn(20, 3), torch.randn(20, 1)), torch.randn(20, 1))
    assert signals.facts(DataFacts()).train.nearest_same is None
