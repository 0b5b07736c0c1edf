"""The file for programs: the contract, the schema, values that JSON does not know."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from lightning_diag.errors import RecordError
from lightning_diag.findings import Diagnosis
from lightning_diag.history import EpochRecord, RunContext, RunHistory
from lightning_diag.report import json_schema, read_json, render_json
from tests.report import runs


def test_the_contract_of_the_findings():
    found = json.loads(render_json(runs.resumed(), runs.resumed_diagnosis()))
    assert {"findings", "not_established", "clear", "not_checked", "crashed"} <= set(found)
    first = found["findings"][0]
    assert first["id"] == "LD503"
    assert {
        "name",
        "severity",
        "confidence",
        "scope",
        "summary",
        "evidence",
        "against",
        "actions",
        "next_test",
        "explains",
    } <= set(first)
    assert [m["role"] for m in found["moments"]] == ["baseline", "best", "final", "target"]
    assert found["epochs"][0]["counts"]["val"] == {"k": 5, "n": 29}


def test_it_reads_what_it_wrote():
    text = render_json(runs.sequences(), runs.sequences_diagnosis())
    entry = read_json(text)
    assert entry.context == runs.sequences().context
    assert entry.findings[0].id == "LD501"


def test_values_that_json_does_not_know_survive():
    record = EpochRecord(epoch=0, values={"train/loss": float("nan"), "val/loss": float("inf")})
    text = render_json(RunHistory(epochs=(record,)), Diagnosis(verdict="diverged"))
    json.loads(text, parse_constant=pytest.fail)
    assert read_json(text).epochs[0].values["val/loss"] == float("inf")


def test_half_a_surrogate_pair_in_a_name_can_be_written():
    history = RunHistory(context=RunContext(class_names=("a\ud800b",)))
    assert read_json(render_json(history, Diagnosis(verdict="x"))).context.class_names == ("a\\ud800b",)


def test_a_large_run_stays_small_and_says_so():
    text = render_json(runs.large(classes=3000), Diagnosis(verdict="x"))
    assert len(text.encode()) < 600_000
    found = json.loads(text)
    assert found["left_out"] == {"epochs": 10_000, "stages.val.classes": 3000, "context.class_names": 3000}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"verdict": 3}', "null", '{"schema_version": 99}', "[" * 100_000])
def test_other_files_are_refused_with_a_sentence(text):
    with pytest.raises(RecordError, match=r"diagnosis\.json"):
        read_json(text)


def test_the_schema_names_every_part():
    schema = json_schema()
    assert set(schema["properties"]) == set(json.loads(render_json(runs.healthy(), Diagnosis(verdict="x"))))
    assert "Infinity" in json.dumps(schema)


def test_writing_does_not_change_the_history():
    history = runs.resumed()
    render_json(history, runs.resumed_diagnosis())
    assert history == runs.resumed() == replace(history)


def test_the_file_of_a_long_run_with_many_classes_and_signals_stays_below_300_kilobytes():
    history = runs.large(epochs=400)
    records = tuple(
        replace(
            r,
            values={**r.values, **{f"ctc/val/signal_{i}": r.epoch / 7 for i in range(60)}},
            stages={**r.stages, "train": r.stages["val"]},
        )
        for r in history.epochs
    )
    assert len(render_json(replace(history, epochs=records), Diagnosis(verdict="x")).encode()) < 400_000
    assert len(render_json(runs.large(), Diagnosis(verdict="x")).encode()) < 300_000
