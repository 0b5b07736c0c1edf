"""One run has one best epoch: the table, the advice of every rule and the plan name the same one."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from lightning_diag.engine import diagnose
from lightning_diag.history import Baseline, Count, Paired
from lightning_diag.report import render_markdown
from lightning_diag.rules.best_weights import best_weights
from lightning_diag.rules.falls import fall, fall_since_start
from lightning_diag.store import history_to_lines, lines_to_history
from tests import seeds
from tests.build import history


def overfitted(**context):
    """The loss is lowest in epoch 2, the accuracy highest in epoch 4."""
    return history(
        {
            "train/loss": [1.4, 0.9, 0.6, 0.4, 0.25, 0.12, 0.06, 0.03],
            "val/loss": [1.4, 1.1, 0.95, 1.0, 1.1, 1.3, 1.5, 1.7],
        },
        counts={
            "train": [(k, 400) for k in (150, 250, 300, 340, 370, 390, 398, 400)],
            "val": [(k, 200) for k in (80, 120, 130, 132, 134, 128, 126, 124)],
        },
        classes=4,
        **context,
    )


def weights_named(run):
    text = render_markdown(run, diagnose(run))
    return set(re.findall(r"[Gg]o on from the weights of epoch (\d+)", text)), text


def test_overfitting_and_the_table_name_one_epoch_and_say_when_the_other():
    run = overfitted()
    found = diagnose(run).finding("LD201")
    assert found is not None
    assert found.title == "Overfitting since epoch 2"
    assert found.actions[0] == (
        "go on from the weights of epoch 4, the best so far by validation accuracy (if a checkpoint of that epoch was kept); "
        "where probabilities count more than answers, from those of epoch 2, where the loss was lowest"
    )
    epochs, text = weights_named(run)
    assert epochs == {"4"}
    assert "| best | 4 |" in text


def test_the_epoch_of_the_lowest_loss_is_the_best_where_loss_is_the_metric():
    found = diagnose(seeds.overfitting()).finding("LD201")
    assert found is not None
    kept = " (if a checkpoint of that epoch was kept)"
    assert found.actions[0] == f"go on from the weights of epoch 4, the best so far by validation loss{kept}"


def test_weights_are_not_said_to_exist_where_no_checkpoint_is_known():
    for path, condition in ((None, " (if a checkpoint of that epoch was kept)"), ("best.ckpt", "")):
        found = diagnose(run := overfitted(stop={"best_checkpoint": path})).finding("LD201")
        assert best_weights(run) == f"the weights of epoch 4, the best so far by validation accuracy{condition}"
        assert found is not None
        assert found.actions[0].startswith(f"go on from {best_weights(run)}; where probabilities")


def test_the_start_is_named_where_nothing_since_was_better():
    epochs, text = weights_named(seeds.seed1())
    assert epochs == {"21"}
    assert text.count("Go on from the weights") == 1, "two causes give the same advice once"
    run = overfitted(baseline=Baseline(source="given", epoch=0, correct=Count(k=133, n=200)))
    assert (best_weights(run) or "").startswith("the weights of epoch 4, the best so far by validation accuracy")


def test_the_fall_from_the_best_is_corrected_for_choosing_it():
    run = overfitted()
    run = replace(run, epochs=tuple(_paired(r, 4) if r.epoch == 7 else r for r in run.epochs))
    found = fall(run)
    assert found is not None
    assert (found.epoch, found.looks) == (4, 7)
    assert found.raw == pytest.approx(0.0213, abs=1e-3)
    assert found.p_value == pytest.approx(1 - (1 - found.raw) ** 7)
    text = render_markdown(run, diagnose(run))
    assert "points against epoch 4: not established |" in text
    assert text.count("p = 0.14") == 1, "the section below has the test"
    assert "p = 0.14 after choosing the best of 8 evaluations (paired, exact McNemar). 13 samples were lost" in text
    assert "p = 0.14 after choosing the best of 8 evaluations (paired, exact McNemar)" in text


def _paired(record, reference):
    val = record.stages["val"]
    paired = Paired(reference_epoch=reference, both=121, gained=3, lost=13, neither=63)
    return replace(record, stages={**record.stages, "val": replace(val, paired=paired)})


def test_the_correction_keeps_its_error_rate():
    """Forty evaluations of a model that does not change: the last is called worse than the best in 5 % at most."""
    rng = np.random.default_rng(0)
    false = 0
    for _ in range(400):
        counts = [(int(k), 200) for k in rng.binomial(200, 0.7, 40)]
        found = fall(history(counts={"val": counts}))
        false += found is not None and found.p_value < 0.05
    assert false <= 0.05 * 400


def test_the_start_was_not_chosen():
    found = fall_since_start(seeds.seed1())
    assert found is not None
    assert found.looks == 1
    assert found.p_value == found.raw
    assert found == fall(seeds.seed1())


def test_too_few_samples_are_judged_by_pairs_where_they_are_known():
    run = overfitted(baseline=Baseline(source="restored history", epoch=4, correct=Count(k=134, n=200)))
    run = replace(run, epochs=tuple(_paired(r, 4) if r.epoch == 7 else r for r in run.epochs))
    assert fall_since_start(run).p_value == pytest.approx(0.0213, abs=1e-3)


def test_precision_is_not_printed_where_answers_were_not_counted():
    run = seeds.seed1()
    text = render_markdown(run, diagnose(run))
    assert "| class | validation recall |" in text
    assert "precision" not in text
    assert lines_to_history(history_to_lines(run)) == run, "the record keeps that it does not know"


def test_weights_no_better_than_chance_are_nothing_to_go_on_from():
    chance = {"task": "multiclass", "val": {"class_counts": (30, 30, 30)}}
    losses = {"train/loss": [1.2, 5e8, 2e9], "val/loss": [1e18, 3e18, 4e18]}
    for rates, said in (((27, 20, 19), False), ((80, 20, 19), True)):
        run = history(losses, counts={"val": [(k, 90) for k in rates]}, **chance)
        assert ("Go on from the weights" in weights_named(run)[1]) is said
