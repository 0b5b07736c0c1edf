"""Several labels per sample: a sample is right when all are, and each label is a question of its own."""

from __future__ import annotations

from lightning_diag.engine import diagnose
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
