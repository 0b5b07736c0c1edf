"""Facts about the data: inputs found, duplicates, scale, purity, shift."""

from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from lightning_diag.history import Count, DataFacts
from lightning_diag.signals import split as split_module
from lightning_diag.signals.data import DataSignals, expected_overlap
from lightning_diag.signals.inputs import features, find_inputs, fingerprints, hash_weights
from lightning_diag.signals.purity import purity_facts


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def feed(train, val, *, epochs=1, size=32, augment=None):
    """Let a loop pass over two (inputs, targets) pairs."""
    signals, values = DataSignals(), {}
    for epoch in range(epochs):
        for stage, (x, y) in (("train", train), ("val", val)):
            signals.start_epoch(stage)
            for bx, by in zip(x.split(size), y.split(size), strict=True):
                seen = bx if augment is None or stage == "val" else bx + augment(epoch, bx)
                signals.batch(stage, (seen, by), by)
        values = signals.finish_epoch()
    return signals.facts(DataFacts()), values


def pair(n, d=20, seed=0, classes=4, scale=1.0, shift=0.0):
    g = rng(seed)
    return torch.randn(n, d, generator=g) * scale + shift, torch.randint(0, classes, (n,), generator=g)


Sample = namedtuple("Sample", "image label")  # noqa: PYI024


@dataclass
class Batch:
    image: torch.Tensor
    label: torch.Tensor


X, Y = torch.randn(8, 3), torch.arange(8)


@pytest.mark.parametrize(
    "batch",
    [
        (X, Y),
        [Y, X],
        {"label": Y, "image": X},
        {"a": {"b": (Y, [X])}},
        Sample(X, Y),
        Batch(X, Y),
        (torch.randn(5, 3), X, Y),
        ("text", 3, X, Y, None),
    ],
)
def test_inputs_are_found(batch):
    assert find_inputs(batch, Y) is X


def test_inputs_may_be_images_or_tokens():
    tokens = torch.randint(0, 99, (8, 12))
    assert find_inputs((tokens, Y), Y) is tokens
    assert find_inputs((Y, Y), Y) is None
    assert find_inputs("text", Y) is None
    assert find_inputs({}, None) is None


def test_the_target_is_not_taken_for_the_input():
    soft = torch.rand(8, 3)
    assert find_inputs((soft, X), soft) is X


def test_flattened_targets_still_find_the_inputs():
    x = torch.randn(4, 10, 6)
    assert find_inputs((x, torch.zeros(4, 10)), torch.zeros(40, dtype=torch.long)) is x


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.uint8, torch.int64])
def test_fingerprints_do_not_depend_on_the_batch(dtype):
    x = (torch.randn(50, 30, generator=rng()) * 50).to(dtype)
    weights = hash_weights(30, x.device)
    whole = fingerprints(features(x), weights)
    parts = torch.cat([fingerprints(features(p), weights) for p in x.flip(0).split(7)]).flip(0)
    assert torch.equal(whole, parts)
    assert len(whole.unique()) == len(x.unique(dim=0))


def test_fingerprints_of_many_samples_do_not_collide():
    x = torch.randint(0, 17, (40_000, 64), generator=rng()).float()
    assert len(fingerprints(x, hash_weights(64, x.device)).unique()) == 40_000


def test_hashing_leaves_the_random_state():
    before = torch.get_rng_state()
    hash_weights(10, torch.device("cpu"))
    assert torch.equal(before, torch.get_rng_state())


def test_independent_splits_have_no_overlap():
    facts, _ = feed(pair(500), pair(200, seed=1))
    assert facts.overlap == Count(k=0, n=200)
    assert facts.near_overlap.k <= 0.03 * facts.near_overlap.n
    assert not facts.low_cardinality
    assert (facts.train.hashed, facts.train.distinct) == (500, 500)


def test_copies_are_counted():
    train, val = pair(500), pair(200, seed=1)
    val[0][:70] = train[0][100:170]
    facts, _ = feed(train, val)
    assert facts.overlap == Count(k=70, n=200)
    assert facts.near_overlap.k >= 70


def test_near_copies_are_counted():
    train, val = pair(500), pair(200, seed=1)
    val[0][:70] = train[0][100:170] + 0.01 * torch.randn(70, 20, generator=rng(5))
    facts, _ = feed(train, val)
    assert facts.overlap.k == 0
    assert 70 <= facts.near_overlap.k <= 76


def test_few_values_make_chance_duplicates():
    g = rng()
    x = torch.randint(0, 6, (90, 2), generator=g).float()
    facts, _ = feed((x, torch.zeros(90).long()), (x[torch.randperm(90, generator=g)[:30]], torch.zeros(30).long()))
    assert facts.low_cardinality
    assert facts.overlap_expected > 0.5


def test_expected_overlap_of_continuous_features_is_nil():
    assert expected_overlap(np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32), 100_000) < 1e-9


def test_moments_and_scales():
    x, y = pair(300)
    x[:, 0] *= 600
    x[:, 1] = 3.0
    x[5, 2] = torch.nan
    facts, _ = feed((x, y), pair(100, seed=1))
    assert facts.train.feature_std_max == pytest.approx(float(x[:, 0].std()), rel=0.02)
    assert facts.train.constant_features == pytest.approx(1 / 20)
    assert facts.train.nonfinite_inputs == 1
    assert facts.val.nonfinite_inputs == 0
    assert facts.train.features == 20
    assert facts.val.input_std == pytest.approx(1, abs=0.05)


def test_scaled_validation_inputs_are_a_shift():
    facts, _ = feed(pair(400), pair(150, seed=1, scale=16))
    assert facts.shift_pvalue < 0.01
    assert facts.shift_auc > 0.9


def test_equal_distributions_are_no_shift():
    pvalues = [feed(pair(300, seed=s), pair(100, seed=s + 50))[0].shift_pvalue for s in range(8)]
    assert min(pvalues) > 0.005
    assert np.mean(pvalues) > 0.25


def test_rows_are_taken_over_the_whole_epoch(monkeypatch):
    monkeypatch.setattr(split_module, "ROWS", 64)
    x = torch.arange(1000.0).unsqueeze(1)
    facts, _ = feed((x, torch.zeros(1000).long()), pair(50, d=1))
    assert facts.train.sampled <= 64
    assert facts.train.input_mean == pytest.approx(500, abs=20)
    assert facts.train.input_max > 960


def test_fingerprints_are_bounded(monkeypatch):
    monkeypatch.setattr(split_module, "HASHED", 100)
    facts, _ = feed(pair(500), pair(50, seed=1), epochs=3)
    assert facts.train.hashed <= 132
    assert facts.train.augmented is None


def test_augmentation_shows_in_the_second_epoch():
    def noise(epoch, x):
        return torch.randn(x.shape, generator=rng(epoch + 7))

    train, val = pair(200), pair(50, seed=1)
    assert feed(train, val, epochs=2)[0].train.augmented is False
    assert feed(train, val, epochs=2, augment=noise)[0].train.augmented is True
    assert feed(train, val)[0].train.augmented is None


def test_sorted_batches_are_pure():
    x, y = pair(320)
    facts, values = feed((x, y.sort().values), pair(50, seed=1))
    assert values["batch/purity"] > 0.9
    assert facts.train.label_purity > facts.train.purity_expected + 20 * facts.train.purity_sd


def test_shuffled_batches_are_as_mixed_as_expected():
    facts, values = feed(pair(640), pair(50, seed=1))
    assert values["batch/purity"] == facts.train.label_purity
    assert abs(facts.train.label_purity - facts.train.purity_expected) < 4 * facts.train.purity_sd


def test_drawn_classes_are_counted():
    x, y = pair(100)
    facts, _ = feed((x, y), (x[:30], y[:30]))
    assert facts.train.drawn_counts == tuple(torch.bincount(y).tolist())
    assert facts.val.class_counts == tuple(torch.bincount(y[:30], minlength=4).tolist())


@pytest.mark.parametrize("labels", [[], [np.array([3])]])
def test_purity_needs_batches(labels):
    assert purity_facts(labels) == {}


def test_one_class_is_pure_and_expected_to_be():
    facts = purity_facts([np.zeros(8, np.int64)] * 3)
    assert facts == {"label_purity": 1.0, "purity_expected": 1.0, "purity_sd": 0.0}


def test_odd_batches_are_left_alone():
    signals = DataSignals()
    signals.start_epoch("train")
    for batch in ("text", None, [], {"a": 3}, (torch.zeros(0, 4), torch.zeros(0)), torch.randn(3, 4)):
        signals.batch("train", batch, None)
    for width in (5, 9):
        signals.batch("train", (torch.randn(4, width), torch.zeros(4)), torch.zeros(4))
    signals.finish_epoch()
    assert signals.facts(DataFacts()).train.hashed >= 3


def test_batches_are_not_changed():
    x, y = pair(10)
    before = x.clone()
    feed((x, y), (x, y))
    assert torch.equal(x, before)


def test_binary_targets_are_labels_too():
    signals = DataSignals()
    signals.start_epoch("train")
    for value in (0.0, 0.0, 1.0, 1.0):
        signals.batch("train", torch.randn(8, 3), torch.full((8,), value), binary=True)
    assert signals.finish_epoch() == {"batch/purity": 1.0}
    assert signals.facts(DataFacts()).train.drawn_counts == (16, 16)


def test_smoothed_binary_labels_keep_their_class():
    signals = DataSignals()
    signals.start_epoch("train")
    for value in (0.05, 0.95, 0.95, 0.95):
        target = torch.full((8,), value)
        target[0] = torch.nan
        signals.batch("train", torch.randn(8, 3), target, binary=True)
    signals.finish_epoch()
    assert signals.splits["train"].row_labels().tolist() == ([-1] + [0] * 7) + 3 * ([-1] + [1] * 7)
    assert signals.facts(DataFacts()).train.drawn_counts == (7, 21)


def test_repeated_sequences_are_counted_for_indices_alone():
    x, y = pair(6)[0][:, :3], torch.zeros(6, dtype=torch.long)
    x[3:5] = x[0]
    for inputs, repeated in ((x, None), ((10 * x).long(), 3), ((10 * x).abs().to(torch.uint8), None)):
        signals = DataSignals()
        signals.start_epoch("train")
        signals.batch("train", (inputs, y), y)
        facts = signals.facts(DataFacts()).train
        assert (facts.hashed, facts.distinct, facts.repeated) == (6, 4, repeated)


@pytest.mark.parametrize("size", [7, 32, 800])
@pytest.mark.parametrize("kind", ["floats", "bytes", "tokens"])
def test_batches_that_wait_give_the_same_facts_as_single_ones(monkeypatch, size, kind):
    x, y = pair(4_000, d=3, seed=1)
    x[17, 1] = torch.nan
    x = {"floats": x, "bytes": (x.nan_to_num().abs() * 40).to(torch.uint8), "tokens": (x.nan_to_num() * 9).long()}[kind]
    val = x[::5].clone(), y[::5].clone()
    together = feed((x, y), val, epochs=2, size=size)
    monkeypatch.setattr(split_module, "WAITING_STEPS", 1)
    singly = feed((x, y), val, epochs=2, size=size)
    assert together == singly
    assert together[0].overlap.k == together[0].overlap.n


def test_batches_of_inference_mode_may_be_looked_at_behind_it():
    watch = split_module.SplitWatch()
    watch.start()
    x, y = pair(403)
    x[400, 0] = torch.inf
    with torch.inference_mode():
        for bx, by in zip((x + 0).split(10), y.split(10), strict=True):
            watch.batch((bx, by), by)
    assert (len(watch.rows()), watch.nonfinite(), len(watch.prints())) == (403, 1, 403)


def test_samples_without_features_do_no_harm():
    watch = split_module.SplitWatch()
    watch.start()
    for _ in range(3):
        watch.batch((torch.zeros(4, 2, 0), torch.arange(4)), torch.arange(4))
    assert len(watch.prints()) == 12
