"""Several labels per sample: a sample is right when all are, and each label is a question of its own."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from lightning_diag.engine import diagnose
from lightning_diag.history import ClassRow, Count, EpochRecord, RunContext, RunHistory, StageRecord
from lightning_diag.rules import reading
from lightning_diag.rules.metric_covers_part_of_validation import MetricCoversPartOfValidation
from tests.build import history


def logged(task, **series):
    columns = {"logged/val_acc": [0.95, 0.96, 0.97], **series}
    run = history(columns, counts={"val": [(40, 1000), (70, 1000), (100, 1000)]}, task=task, classes=20)
    return diagnose(run, rules=[MetricCoversPartOfValidation()])


def test_a_metric_of_single_labels_is_another_definition() -> None:
    assert not logged("multilabel", **{"val/label_acc": [0.95, 0.96, 0.97]}).findings
    found = logged("multilabel", **{"val/label_acc": [0.85, 0.86, 0.87]}).findings[0]
    assert "over all 1,000 validation samples it is 0.8" in found.summary
    assert found.claim == "likely"
    assert "both the logged accuracy" in logged("multilabel").not_checked[0].reason


def test_lines_of_text_have_accuracies_of_many_kinds() -> None:
    answer = logged("ctc")
    assert not answer.findings
    assert not answer.clear
    assert logged("multiclass").findings[0].claim == "likely"


SUPPORT = [600, *(300 // (i + 1) for i in range(1, 20))]
"""Of 1,000 samples: one common label and nineteen rarer ones."""


def run(accuracies, losses, *, val=0.8, train=0.82, answered=0.9, trained=None):
    """Twenty labels; ``val`` and ``train`` are their recall, ``answered`` the answers per label over its support."""

    def stage(recall, rate, times):
        rows = tuple(
            ClassRow(
                index=i, support=times * s, predicted=times * round(answered * s), correct=times * round(recall * s)
            )
            for i, s in enumerate(SUPPORT)
        )
        n = 1000 * times
        return StageRecord(n=n, correct=Count(k=round(rate * n), n=n), classes=rows)

    epochs = [
        EpochRecord(
            epoch=e,
            values={"train/loss": t, "val/loss": v, "train/acc": a + 0.03, "val/acc": a, "lr": 1e-3},
            stages={"val": stage(val, a, 1), "train": stage(train, a + 0.03, 8)},
        )
        for e, (a, v, t) in enumerate(zip(accuracies, losses, trained or losses, strict=True))
    ]
    return RunHistory(context=RunContext(task="multilabel", classes=20), epochs=tuple(epochs))


LEARNING = [0.4, 0.25, 0.2, 0.17, 0.15, 0.14, 0.13, 0.125, 0.123, 0.122]


@pytest.mark.parametrize("best", [0.26, 0.62])
def test_a_healthy_run_is_not_judged_by_samples_that_are_right_in_every_label(best) -> None:
    healthy = run([best * (1 - 0.8**i) for i in range(1, 11)], LEARNING)
    assert reading.learned(healthy) is True
    assert not diagnose(healthy).causes
    assert reading.trivial_rate(healthy) is None


def test_the_trivial_loss_is_the_mean_entropy_of_the_labels() -> None:
    shares = [s / 1000 for s in SUPPORT]
    entropies = [-q * math.log(q) - (1 - q) * math.log(1 - q) for q in shares]
    healthy = run([0.1] * 10, LEARNING)
    assert reading.trivial_loss(healthy) == pytest.approx(sum(entropies) / 20)
    unknown = replace(healthy, epochs=tuple(replace(r, stages={}) for r in healthy.epochs))
    assert reading.trivial_loss(unknown) is None


def by_chance(**fields):
    """Answers dealt out at random: as many hits of each label as its share of the samples gives."""
    made = run([0.02] * 10, **fields)
    rows = tuple(ClassRow(index=i, support=s, predicted=s, correct=round(s * s / 1000)) for i, s in enumerate(SUPPORT))
    last = made.epochs[-1]
    stages = {**last.stages, "val": replace(last.stages["val"], classes=rows)}
    return replace(made, epochs=(*made.epochs[:-1], replace(last, stages=stages)))


def test_labels_at_chance_after_training_learned_are_told() -> None:
    lost = by_chance(losses=[0.35] * 10, trained=[0.3, 0.2, 0.1, 0.08, 0.05, 0.04, 0.03, 0.02, 0.02, 0.02])
    assert reading.learned(lost) is False
    found = diagnose(lost).finding("LD202")
    assert "no validation label is answered better than by chance" in found.summary


def test_a_loss_below_the_trivial_one_alone_does_not_make_chance_learning() -> None:
    assert reading.learned(by_chance(losses=[0.1] * 10)) is False


def test_few_samples_leave_open_whether_labels_were_learned() -> None:
    """Three of five hits of each of two labels among twelve samples: no proof, and no chance either."""
    made = by_chance(losses=[0.5] * 10, trained=[0.3, 0.2, 0.1, 0.08, 0.05, 0.04, 0.03, 0.02, 0.02, 0.02])
    few = StageRecord(
        n=12,
        correct=Count(k=4, n=12),
        classes=tuple(ClassRow(index=i, support=5, predicted=5, correct=3) for i in range(2)),
    )
    last = made.epochs[-1]
    made = replace(made, epochs=(*made.epochs[:-1], replace(last, stages={**last.stages, "val": few})))
    assert reading.learned(made) is False
    diagnosis = diagnose(made)
    assert diagnosis.finding("LD202") is None
    assert "too few samples" in next(n.reason for n in diagnosis.not_checked if n.code == "LD202")
