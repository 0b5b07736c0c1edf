"""Training that draws its classes in other shares than validation holds them."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_diag.engine import diagnose
from lightning_diag.history import (
    ClassRow,
    ClassRows,
    Count,
    EpochRecord,
    ModelFacts,
    RunHistory,
    StageRecord,
)
from lightning_diag.rules.class_mix import as_in_validation, mix_apart
from tests.build import history


def table(cells) -> ClassRows:
    return ClassRows.of(ClassRow(index=i, support=s, predicted=p, correct=k) for i, (s, p, k) in enumerate(cells))


def stage(cells) -> StageRecord:
    n = sum(s for s, _, _ in cells)
    return StageRecord(n=n, correct=Count(k=sum(k for _, _, k in cells), n=n), classes=table(cells))


def answers(g, supports, recalls):
    """Two classes, answered right at the given rates."""
    first, second = (int(g.binomial(n, r)) for n, r in zip(supports, recalls, strict=True))
    wrong = supports[0] - first, supports[1] - second
    return [(supports[0], first + wrong[1], first), (supports[1], second + wrong[0], second)]


def run(g, recalls, *, drawn=(4000, 4000), rows=True, noise=0.0):
    """Six epochs of 90/10 validation and training ``drawn``; ``noise`` of the training labels are wrong."""
    in_training = [r * (1 - noise) + (1 - r) * noise for r in recalls]
    epochs = []
    for epoch in range(6):
        stages = {"train": stage(answers(g, drawn, in_training)), "val": stage(answers(g, (1800, 200), recalls))}
        if not rows:
            stages = {name: StageRecord(n=s.n, correct=s.correct) for name, s in stages.items()}
        epochs.append(EpochRecord(epoch=epoch, stages=stages))
    context = history(
        classes=2,
        task="binary",
        model=ModelFacts(dropout=False, batch_norm=False),
        train={"class_counts": (7200, 800), "drawn_counts": drawn, "sampler": "WeightedRandomSampler"},
        val={"class_counts": (1800, 200)},
    ).context
    return diagnose(RunHistory(context=context, epochs=tuple(epochs)))


@pytest.mark.parametrize("seed", range(5))
def test_a_balanced_sampler_is_no_label_noise(seed) -> None:
    g = np.random.default_rng(seed)
    healthy = run(g, (0.95, 0.75))
    assert healthy.finding("LD606") is None
    assert run(g, (0.95, 0.75), noise=0.25).finding("LD606") is not None


def test_without_recalls_the_shares_may_have_made_it() -> None:
    found = run(np.random.default_rng(0), (0.95, 0.75), rows=False)
    assert found.finding("LD606") is None
    assert "other shares" in next(n.reason for n in found.not_checked if n.code == "LD606")


def test_recalls_are_weighed_by_the_supports_of_validation() -> None:
    train, val = table([(1000, 1200, 900), (1000, 800, 700)]), table([(450, 435, 405), (50, 65, 20)])
    weighed = as_in_validation(train, val)
    assert weighed is not None
    assert weighed.rate == pytest.approx(0.88, abs=1e-3)
    assert weighed.n == round(1 / (0.9**2 / 1000 + 0.1**2 / 1000))
    assert as_in_validation(table([(1000, 1000, 900)]), val) is None, "a class that training never met"
    assert as_in_validation(ClassRows(), val) is None
    same = as_in_validation(table([(900, 900, 810), (100, 100, 70)]), val)
    assert same is not None
    assert same.n == 1000


def test_shares_of_random_splits_are_the_same() -> None:
    g = np.random.default_rng(0)
    draws = [[tuple(g.multinomial(n, np.ones(10) / 10).tolist()) for n in (1000, 397)] for _ in range(40)]
    apart = [mix_apart(history(train={"class_counts": a}, val={"class_counts": b})) for a, b in draws]
    assert sum(value > 0 for value in apart) <= 2
    skewed = history(train={"class_counts": (900, 100), "drawn_counts": (500, 500)}, val={"class_counts": (450, 50)})
    assert mix_apart(skewed) == pytest.approx(0.4)
    assert mix_apart(history({"train/loss": [1.0]})) == 0.0


def test_a_run_that_draws_by_weight_is_not_told_to():
    rows = {"val": [(900, 960, 890), (100, 40, 30)]}
    plain, drawn = (
        diagnose(history(rows=rows, task="binary", classes=2, train={"class_counts": (9000, 1000), **more}))
        for more in ({}, {"sampler": "WeightedRandomSampler", "replacement": True})
    )
    assert "class weights in the loss or a balanced sampler" in plain.finding("LD303").actions
    assert "class weights in the loss" in drawn.finding("LD303").actions
