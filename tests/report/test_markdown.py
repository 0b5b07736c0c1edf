"""What a reader sees: gold files, the order of the sections, bounds, nothing twice."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from lightning_diag.findings import Diagnosis
from lightning_diag.history import RunContext, RunHistory
from lightning_diag.report import finding_markdown, history_markdown, render_markdown
from tests.report import runs

CASES = {
    "resumed": (runs.resumed, runs.resumed_diagnosis),
    "sequences": (runs.sequences, runs.sequences_diagnosis),
    "healthy": (runs.healthy, runs.healthy_diagnosis),
}
ORDER = [
    "What went wrong, most important first", "What is not established", "Epochs", "Classes", "Groups", "Most confused",
    "Sample predictions", "Learning rate", "Stopping", "Data", "Pretrained weights", "CTC", "Plan of action",
    "Checked and clear", "Not checked, because", "Configuration and thresholds",
]  # fmt: skip


def _headings(text):
    return re.findall(r"^## (.+)$", text, flags=re.MULTILINE)


@pytest.mark.parametrize("name", CASES)
def test_gold(name, gold):
    history, diagnosis = CASES[name]
    gold(f"{name}.md", render_markdown(history(), diagnosis()))


def test_sections_come_in_the_order_in_which_they_are_read():
    found = _headings(render_markdown(runs.resumed(), runs.resumed_diagnosis()))
    assert found == [title for title in ORDER if title in found]
    assert set(found) == set(ORDER) - {"Pretrained weights", "CTC"}


def test_an_empty_history_is_a_verdict_and_nothing_else():
    text = render_markdown(RunHistory(), Diagnosis(verdict="Nothing was recorded."))
    assert text.startswith("# Diagnosis: run\n\n**Nothing was recorded.**\n")
    assert _headings(text) == []


def test_figures_replace_the_lines_of_text():
    text = render_markdown(runs.resumed(), runs.resumed_diagnosis(), figures={"curves": "diagnosis/curves.svg"})
    assert "![loss, validation accuracy with intervals, learning rate](<diagnosis/curves.svg>)" in text
    assert "▁" not in text


@pytest.mark.parametrize("name", CASES)
def test_no_sentence_is_printed_twice(name):
    history, diagnosis = CASES[name]
    text = render_markdown(history(), diagnosis())
    prose = " ".join(line for line in text.splitlines() if not line.startswith("|"))
    sentences = [s.strip() for s in re.split(r"(?<=[.!?:])\s|\*\*|^- ", prose) if len(s.strip()) > 25]
    assert len(sentences) == len(set(sentences)) > 4


def test_a_long_run_with_many_classes_stays_small_and_says_what_was_left_out():
    text = render_markdown(runs.large(), Diagnosis(verdict="Fine."))
    assert len(text.encode()) < 300_000
    assert "24 of 10,000 epochs" in text
    assert "40 of 1,000 classes" in text


def test_a_finding_and_a_history_show_themselves():
    finding = runs.resumed_diagnosis().findings[0]
    assert finding_markdown(finding).startswith(
        "### Validation fell at the resume: 21 → 5 of 29 · LD503 · error · likely"
    )
    shown = history_markdown(runs.resumed())
    assert shown.startswith("**resumed fit of LipNet, epochs 22–41**")
    assert "21/29 = 72 % [54, 85]" in shown


def test_a_history_without_a_size_of_the_validation_set_has_no_interval():
    history = runs.resumed()
    bare = tuple(replace(r, stages={}) for r in history.epochs)
    text = render_markdown(replace(history, epochs=bare, context=RunContext()), Diagnosis(verdict="x"))
    assert "[" not in text.split("## ")[0]
    assert "does not hold how many of how many" in text


def test_classes_that_are_never_predicted_take_one_sentence():
    from lightning_diag.history import ClassRow, EpochRecord, StageRecord

    rows = tuple(
        ClassRow(index=i, support=i + 1, predicted=0 if i else 210, correct=1 if i == 0 else 0) for i in range(20)
    )
    stage = StageRecord(n=210, classes=rows)
    history = RunHistory(epochs=(EpochRecord(epoch=0, values={"val/acc": 1 / 210}, stages={"val": stage}),))
    text = render_markdown(history, Diagnosis(verdict="x")).split("## Classes")[1]
    assert "19 classes with 209 samples are never predicted, the largest: class 19 (20), class 18 (19)" in text
    assert text.count("| class ") == 2  # the heading and class 0


def test_what_was_said_is_not_said_again():
    from lightning_diag.findings import Evidence, Finding

    finding = Finding(
        code="LD201", name="overfitting", severity="error", confidence=0.9, claim="likely", title="Overfitting",
        summary="It overfits: training 92/96 = 96 %, validation 19/29 = 66 %",
        evidence=(
            Evidence(signal="val", text="gap 30 points (15–49): training 92/96 = 96 %, validation 19/29 = 66 %"),
            Evidence(signal="val", text="validation 19/29 = 66 %."),
        ),
    )  # fmt: skip
    text = finding_markdown(finding)
    assert "- **For:** Gap 30 points (15–49).\n" in text
    verdict = render_markdown(RunHistory(), Diagnosis(verdict=finding.summary, findings=(finding,)))
    assert "- **For:** Gap 30 points (15–49).\n" in verdict
    assert "**Seen:**" not in verdict
    alone = replace(finding, evidence=finding.evidence[1:])
    nothing_new = render_markdown(RunHistory(), Diagnosis(verdict=finding.summary, findings=(alone,)))
    assert "**Seen:**" not in nothing_new
    assert "**For:**" not in nothing_new


def test_rows_of_one_epoch_are_told_apart_and_further_loaders_have_columns():
    text = render_markdown(runs.several_evaluations(), Diagnosis(verdict="x")).split("## Epochs")[1]
    assert "| 0 (step 10) |" in text
    assert "val:1 acc" in text
    assert "16/50 = 32 % [21, 46]" in text
    assert "not finite" in text
    assert "no end recorded" in text
