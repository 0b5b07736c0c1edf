"""What stands beside an accuracy that says little alone: the share of the largest class, and the overlap of regions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lightning_diag.engine import diagnose
from lightning_diag.findings import Diagnosis
from lightning_diag.history import ClassRow, Confusion
from lightning_diag.report import render_markdown
from lightning_diag.report.sections.trivial import labels, overlap
from lightning_diag.report.view import View
from tests.build import history


def screen(run):
    text = render_markdown(run, diagnose(run))
    return text[: text.index("## ")], text


def test_pixels_have_the_largest_class_and_the_mean_overlap_beside_them():
    """The confusion matrix [[60, 10, 0], [10, 10, 0], [5, 5, 0]]: IoU 60/85, 10/35 and 0/10."""
    rows = {"val": [(70, 75, 60), (20, 25, 10), (10, 0, 0)]}
    run = history(
        {"val/loss": [1.0, 0.8]}, counts={"val": [(60, 100), None]}, rows=rows, task="dense", classes=3, val={"size": 4}
    )
    first, whole = screen(run)
    assert "Naming class 0 at every position is right in 70/100 = 70 %." in first
    mean = (60 / 85 + 10 / 35 + 0) / 3
    assert f"Mean IoU in epoch 1: {100 * mean:.0f} % over 3 classes." in first
    assert "| IoU |" in whole
    assert "| 71 % |" in whole
    assert "| 29 % |" in whole


def test_classes_that_are_not_there_have_no_overlap():
    run = history(rows={"val": [(70, 70, 70), (0, 0, 0), (30, 30, 30)]}, task="dense", classes=3, val={"size": 4})
    assert "Mean IoU in epoch 0: 100 % over 2 classes." in screen(run)[0]
    view = View(history=run, diagnosis=Diagnosis(verdict=""))
    assert [overlap(row) for row in view.last_classes("val")[1].classes] == [1.0, None, 1.0]


def test_one_answer_per_sample_has_no_regions():
    first, whole = screen(history(rows={"val": [(7, 8, 6), (3, 2, 1)]}, task="multiclass", classes=2))
    assert "IoU" not in whole
    assert "Naming" not in first


@pytest.mark.parametrize(
    ("supports", "single", "exact"),
    [
        ((10, 20), "85 %", "matches 70 % to 80 % exactly"),  # right in 90 and 80 of 100 samples, apart or together
        ((50, 50, 50), "50 %", "matches at most 50 % exactly"),
        ((100, 0), "100 %", "matches 100 % exactly"),
    ],
)
def test_labels_have_the_more_frequent_answer_beside_them(supports, single, exact):
    run = history({"val/loss": [1.0]}, counts={"val": [(75, 100)]}, task="multilabel", classes=len(supports))
    last = run.epochs[-1]
    stage = replace(
        last.stages["val"],
        classes=[ClassRow(index=i, support=s, predicted=s, correct=s) for i, s in enumerate(supports)],
    )
    run = replace(run, epochs=(replace(last, stages={"val": stage}),))
    said = labels(View(history=run, diagnosis=Diagnosis(verdict="")))
    assert f"is right in {single} of the single labels" in said
    assert exact in said
    assert said in screen(run)[0]


@pytest.mark.parametrize("stage", ["train", "val"])
def test_recall_and_precision_name_the_set_that_they_are_of(stage):
    run = history({"train/loss": [1.0]}, rows={stage: [(7, 8, 6), (3, 2, 1)]}, task="multiclass", classes=2)
    text = render_markdown(run, diagnose(run))
    named = "validation recall | precision" if stage == "val" else "training recall | training precision"
    assert f"| class | {named} |" in text


@pytest.mark.parametrize(("stage", "times"), [("train", "times in training"), ("val", "times")])
def test_confused_pairs_name_the_set_that_they_are_of(stage, times):
    run = history(rows={stage: [(7, 8, 6), (3, 2, 1)]}, task="multiclass", classes=2)
    pairs = (Confusion(target=1, predicted=0, count=2), Confusion(target=0, predicted=1, count=1))
    last = run.epochs[-1]
    stages = {stage: replace(last.stages[stage], confusions=pairs)}
    run = replace(run, epochs=(replace(last, stages=stages),))
    assert f"| class | taken for | {times} |" in render_markdown(run, diagnose(run))
