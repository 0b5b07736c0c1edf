"""Many classes, few samples each: what chance does to some of them must not be held against a run."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_diag import statistics
from lightning_diag.rules import RULES
from lightning_diag.rules.answers import dealt_out, effective
from tests.build import history

RANDOM = 40
"""Random draws of each kind, of which at most one may be accused: at a true rate of 1 % more are in 6 % of such tests."""
BY_CODE = {rule.code: rule() for rule in RULES}


def loud(code, run):
    found = BY_CODE[code].check(run)
    return found is not None and found.severity != "info"


def splits(shares, train, val, seed=0):
    """Histories that hold random splits of one population."""
    g = np.random.default_rng(seed)
    for _ in range(RANDOM):
        a, b = (tuple(g.multinomial(n, shares).tolist()) for n in (train, val))
        yield history({"val/loss": [1.0]}, train={"class_counts": a}, val={"class_counts": b}, classes=len(shares))


def answers(classes, each, accuracy, seed=0):
    """Histories of models that are right at one rate for all classes, and wrong evenly."""
    g = np.random.default_rng(seed)
    for _ in range(RANDOM):
        labels = np.repeat(np.arange(classes), each)
        given = np.where(g.random(len(labels)) < accuracy, labels, g.integers(0, classes, len(labels)))
        rows = [(each, int((given == c).sum()), int(((given == c) & (labels == c)).sum())) for c in range(classes)]
        yield history(rows={"val": rows}, classes=classes, task="multiclass")


@pytest.mark.parametrize(("classes", "train", "val"), [(1000, 50_000, 5000), (10, 1000, 30)])
def test_random_splits_are_not_at_fault(classes, train, val) -> None:
    assert sum(loud("LD304", run) for run in splits(np.ones(classes) / classes, train, val)) <= 1


def test_random_splits_of_a_long_tail_are_not_at_fault() -> None:
    shares = np.random.default_rng(1).pareto(1.2, 500) + 0.05
    assert sum(loud("LD304", run) for run in splits(shares / shares.sum(), 20_000, 2000)) <= 1


def test_a_frequent_class_left_out_of_a_thousand_is_found() -> None:
    run = next(splits(np.ones(1000) / 1000, 50_000, 5000))
    train, val = (list(s.class_counts) for s in (run.context.data.train, run.context.data.val))
    train[7], val[7] = 400, 0
    assert loud(
        "LD304", history({"val/loss": [1.0]}, train={"class_counts": tuple(train)}, val={"class_counts": tuple(val)})
    )


def test_many_classes_left_out_are_found_although_each_may_be_chance() -> None:
    train, val = (30,) * 100, (3,) * 70 + (0,) * 30
    assert loud("LD304", history({"val/loss": [1.0]}, train={"class_counts": train}, val={"class_counts": val}))


def test_evenly_spread_errors_miss_no_class() -> None:
    assert sum(loud("LD302", run) for run in answers(100, 5, 0.3)) <= 1


@pytest.mark.parametrize(("classes", "each", "accuracy"), [(20, 1, 0.05), (20, 1, 0.5), (30, 1, 0.3), (50, 1, 0.4)])
def test_few_answers_over_many_classes_are_no_collapse(classes, each, accuracy) -> None:
    assert not any(loud("LD301", run) for run in answers(classes, each, accuracy))


def test_a_weighted_sampler_may_miss_some_of_a_thousand_small_classes() -> None:
    drawn = tuple(np.random.default_rng(2).multinomial(5000, np.ones(1000) / 1000).tolist())
    assert 0 in drawn
    facts = {"class_counts": (50,) * 1000, "drawn_counts": drawn, "sampler": "WeightedRandomSampler"}
    assert not loud("LD305", history({"val/loss": [1.0]}, train=facts, val={"class_counts": (5,) * 1000}))


def test_all_answers_of_a_frequent_class_are_a_collapse_unless_the_scores_tell() -> None:
    rows = {"val": [(320, 400, 320), (80, 0, 0)]}
    assert loud("LD301", history(rows=rows, classes=2, task="binary"))
    assert loud("LD301", history({"val/loss": [0.6, 0.5, 0.5]}, rows=rows, classes=2, task="binary"))
    assert not loud("LD301", history({"val/loss": [0.5, 0.42, 0.41]}, rows=rows, classes=2, task="binary"))


def test_effective_numbers() -> None:
    assert effective([5, 5, 5, 5]) == pytest.approx(4)
    assert effective([20, 0, 0]) == pytest.approx(1)
    assert dealt_out([1] * 20, 20) == pytest.approx(11.5, abs=0.6)
    assert dealt_out([5000, 5000], 10_000) == pytest.approx(2, abs=0.01)


def test_absence_by_chance() -> None:
    assert statistics.absent_by_chance([0.001, 0.001], [False, False]) == 1.0
    one = statistics.absent_by_chance([0.001, 0.3], [True, False])
    assert one == pytest.approx(statistics.corrected(0.001, 2))
    many = statistics.absent_by_chance([0.1] * 20, [True] * 12 + [False] * 8)
    assert many == pytest.approx(2 * 1.3646e-6, rel=1e-3), "Poisson(2) is 12 or more"
