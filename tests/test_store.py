import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import histories

from lightning_diag.errors import RecordError
from lightning_diag.history import ClassRow, EpochRecord, RunContext, RunHistory, StageRecord
from lightning_diag.recorder import Recorder
from lightning_diag.store import append_context, append_epoch, history_to_lines, lines_to_history, read_history, reading
from lightning_diag.store.columns import class_rows, confusions, matrix_rows
from lightning_diag.thinning import kept_positions, notes, thin


def epoch(number, **values):
    return EpochRecord(epoch=number, values=values or {"train/loss": 1.0})


def with_classes(number, classes=5, accuracy=0.5):
    rows = tuple(ClassRow(index=i, support=9, predicted=i, correct=0) for i in range(classes))
    return EpochRecord(epoch=number, values={"val/acc": accuracy}, stages={"val": StageRecord(n=9, classes=rows)})


@settings(max_examples=100)
@given(histories)
def test_round_trip_is_exact(history):
    assert lines_to_history(history_to_lines(history)) == history


def test_nan_and_infinities_come_back_from_valid_json():
    values = {"a": math.nan, "b": math.inf, "c": -math.inf}
    lines = history_to_lines(RunHistory(epochs=(EpochRecord(epoch=0, values=values),)))
    for line in lines:
        json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    back = lines_to_history(lines).epochs[0].values
    assert math.isnan(back["a"])
    assert (back["b"], back["c"]) == (math.inf, -math.inf)


def test_appending_epoch_by_epoch_equals_the_whole(tmp_path):
    path = tmp_path / "logs" / "history.jsonl"
    append_context(path, RunContext(seed=1))
    for i in range(3):
        append_epoch(path, with_classes(i))
    append_context(path, RunContext(seed=1, total_seconds=2.5))
    expected = RunHistory(
        context=RunContext(seed=1, total_seconds=2.5), epochs=tuple(with_classes(i) for i in range(3))
    )
    assert read_history(path) == expected


def test_a_record_cut_at_any_byte_is_read_up_to_there(tmp_path):
    whole = RunHistory(
        context=RunContext(seed=7, class_names=("Küche", "日本")), epochs=tuple(with_classes(i) for i in range(2))
    )
    data = ("\n".join(history_to_lines(whole)) + "\n").encode()
    append_epoch(tmp_path / "first.jsonl", epoch(-1))
    before = (tmp_path / "first.jsonl").read_bytes()
    path = tmp_path / "history.jsonl"
    for cut in range(len(data)):
        path.write_bytes(before + data[:cut])
        history = read_history(path)
        assert history.epochs[1:] == whole.epochs[: len(history.epochs) - 1]
        assert len(history.epochs) >= data[:cut].count(b"\n")


def test_appending_after_a_torn_line_loses_only_that_line(tmp_path):
    path = tmp_path / "history.jsonl"
    append_context(path, RunContext())
    append_epoch(path, epoch(0))
    with path.open("ab") as file:
        file.write(b'{"type":"epoch","epo')
    append_epoch(path, epoch(2))
    history = read_history(path)
    assert [r.epoch for r in history.epochs] == [0, 2]
    assert "line 3 of the record is torn" in history.context.notes[0]


def test_zero_bytes_after_a_power_failure_are_passed_over(tmp_path):
    path = tmp_path / "history.jsonl"
    append_epoch(path, epoch(0))
    path.write_bytes(path.read_bytes() + b"\0" * 5000)
    assert len(read_history(path).epochs) == 1


def test_a_resumed_fit_replaces_the_epochs_that_it_repeats():
    first, second = RunContext(started="a"), RunContext(started="b", resumed_epoch=2)
    lines = history_to_lines(RunHistory(context=first, epochs=tuple(epoch(i, x=1.0) for i in range(4))))
    lines += history_to_lines(RunHistory(context=second, epochs=tuple(epoch(i, x=2.0) for i in range(2, 4))))
    history = lines_to_history(lines)
    assert [(r.epoch, r.values["x"]) for r in history.epochs] == [(0, 1.0), (1, 1.0), (2, 2.0), (3, 2.0)]
    assert history.context == second


def test_a_resume_in_the_middle_of_an_epoch_keeps_the_evaluations_before_it():
    steps = [EpochRecord(epoch=0, step=s) for s in (10, 20, 30)]
    lines = history_to_lines(RunHistory(context=RunContext(started="a"), epochs=tuple(steps)))
    lines += history_to_lines(RunHistory(context=RunContext(started="b"), epochs=(EpochRecord(epoch=0, step=20),)))
    assert [r.step for r in lines_to_history(lines).epochs] == [10, 20]


def test_a_context_again_within_a_fit_replaces_nothing():
    lines = history_to_lines(RunHistory(context=RunContext(started="a"), epochs=(epoch(0), epoch(0))))
    assert len(lines_to_history([*lines, lines[0]]).epochs) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("garbage", "not JSON"),
        ("[1, 2]", "not a JSON object"),
        ("{}", 'expected "type"'),
        ('{"type":"epoch"}', "epoch: Field required"),
        ('{"type":"epoch","epoch":"x"}', "epoch: Input should be a valid integer"),
        ('{"type":"epoch","epoch":1,"stages":[]}', "stages"),
        ('{"type":"epoch","epoch":1,"stages":{"val":{"n":3,"correct":{"k":4,"n":3}}}}', "expected 0 <= k <= n"),
        ('{"type":"epoch","epoch":1,"stages":{"val":{"n":3,"classes":"1 2;3"}}}', "four columns"),
        ('{"type":"epoch","epoch":1,"stages":{"val":{"n":3,"classes":[1]}}}', "text columns"),
        ('{"type":"epoch","epoch":1,"stages":{"val":{"n":3,"matrix":"1 x"}}}', "rows of integers"),
        ('{"type":"epoch","epoch":1,"stages":{"val":{"n":3,"matrix":"1 2;3"}}}', "rows of integers"),
        ('{"type":"epoch","epoch":1,"stages":{"val":{"n":3,"classes":"0;3;2;3"}}}', "more correct"),
        ('{"type":"epoch","epoch":' + "9" * 40 + "}", "64 bits"),
        ('{"type":"epoch","epoch":' + "9" * 9000 + "}", "64 bits|line 1"),
        ("[" * 100_000, "line 1"),
        ("", "no line of a record"),
    ],
)
def test_garbage_is_a_clear_error(line, message):
    with pytest.raises(RecordError, match=message):
        lines_to_history([line])


def test_a_missing_file_and_an_endless_line_are_clear_errors(tmp_path, monkeypatch):
    with pytest.raises(RecordError, match="No such file"):
        read_history(tmp_path / "none.jsonl")
    monkeypatch.setattr(reading, "MAX_LINE", 100)
    (tmp_path / "x.jsonl").write_bytes(b"a" * 101)
    with pytest.raises(RecordError, match="longer than"):
        read_history(tmp_path / "x.jsonl")


def test_a_record_that_is_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(reading, "MAX_BYTES", 1000)
    with pytest.raises(RecordError, match="larger than"):
        lines_to_history(history_to_lines(RunHistory(epochs=tuple(epoch(i) for i in range(100)))))


def test_fields_and_lines_of_a_newer_version_are_left_out_with_a_note():
    line = '{"type":"epoch","version":9,"epoch":3,"mood":"good","stages":{"val":{"n":2,"vibe":1}}}'
    history = lines_to_history([line, '{"type":"summary","version":9}'])
    assert history.epochs[0] == EpochRecord(epoch=3, stages={"val": StageRecord(n=2)})
    notes = " ".join(history.context.notes)
    assert all(word in notes for word in ("mood", "vibe", "summary"))


def test_something_that_is_not_a_number_cannot_be_written(tmp_path):
    with pytest.raises(RecordError, match="plain numbers"):
        append_epoch(tmp_path / "h.jsonl", EpochRecord(epoch=0, values={"x": object()}))


def test_rows_are_kept_at_first_best_last_and_each_kth_epoch():
    accuracy = [0.9 if i == 37 else 0.5 for i in range(100)]
    history = RunHistory(epochs=tuple(with_classes(i, accuracy=a) for i, a in enumerate(accuracy)))
    read = lines_to_history(history_to_lines(history), class_rows=100)
    kept = [r.epoch for r in read.epochs if r.stages["val"].classes]
    assert kept == [0, *(e for e in range(8, 100, 8) if e < 37), 37, *range(40, 100, 8), 99]
    assert thin(history, 100) == read
    assert thin(history) is history
    assert notes(history) == ()
    (told,) = notes(read)
    assert told.startswith("per-class rows are kept for 15 of 100 epochs (the first, the best, the last")
    assert told.endswith("the whole record would be 500 rows")
    assert {r.stages["val"].thinned for r in read.epochs if r.epoch not in kept} == {5}


def mixed(number):
    """Epochs differ in weight, in what they hold, and in which of them is the best."""
    record = with_classes(number, classes=number % 4 + 2, accuracy=(7 * number) % 23)
    stage = replace(record.stages["val"], matrix=((number,) * 4,) * 4 if number % 3 else ())
    return replace(record, stages={"val": stage, "train": StageRecord(n=1)} if number % 5 else {})


@pytest.mark.parametrize("make", [lambda i: with_classes(i, accuracy=i % 17), mixed])
def test_thinning_as_it_goes_equals_thinning_at_the_end_and_what_a_file_or_a_checkpoint_gives(make):
    grown, recorder, resumed = RunHistory(), Recorder(class_rows=60), Recorder(class_rows=60)
    epochs = tuple(make(i) for i in range(130))
    for count, record in enumerate(epochs, start=1):
        whole = thin(RunHistory(epochs=epochs[:count]), 60)
        grown = thin(replace(grown, epochs=(*grown.epochs, record)), 60)
        for each in (recorder, resumed):
            each.values(record.values)
            for name, stage in record.stages.items():
                each.stage(name, stage)
            each.close(record.epoch, record.step)
        if count % 7 == 0:  # a checkpoint, and a run that goes on from it
            lines = history_to_lines(RunHistory(epochs=resumed.epochs))
            resumed = Recorder(lines_to_history(lines, class_rows=60).epochs, class_rows=60)
        assert grown == whole
        assert recorder.history() == whole
        assert resumed.history() == whole
        assert lines_to_history(history_to_lines(RunHistory(epochs=epochs[:count])), class_rows=60) == whole
    assert sum(bool(record.stages and record.stages["val"].classes) for record in recorder.epochs) < 30


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 500))
def test_kept_positions_hold_the_ends_and_the_limit(weights, limit):
    kept = kept_positions(weights, (), limit)
    if weights:
        assert {0, len(weights) - 1} <= kept
        assert sum(weights[i] for i in kept) <= limit + weights[0] + weights[-1]


@pytest.mark.parametrize("support", [1, 2**15, 2**31, 2**40, 2**63 - 1])
@pytest.mark.parametrize("predicted", [2**62, 2**63 - 1, None])
def test_large_int_class_rows_survive(support, predicted):
    rows = (ClassRow(index=0, support=support, predicted=predicted, correct=1),)
    history = RunHistory(epochs=(EpochRecord(epoch=0, stages={"val": StageRecord(n=1, classes=rows)}),))
    assert lines_to_history(history_to_lines(history)) == history


NOT_INTEGERS = ["1.0", "1e3", "-1", "+1", "1_0", "\u0661", "nan", "", " ", "x", "0x1", "1,2", "\ud800", str(2**63)]


@pytest.mark.parametrize("bad", [*NOT_INTEGERS, "9" * 30, "9" * 9000, "1  2", " 1", "1 ", "1\t2", "\x001"])
def test_only_columns_of_integers_are_read(bad):
    """numpy's own reading of text takes a blank for 0, stops at a letter and cuts 2**63 off."""
    size = 2 if len(bad.split()) == 2 else 1
    good = " ".join("1" * size)
    for at in (0, 1, 2, 3):
        if (at, bad) != (2, ""):  # (`predicted` that is not known)
            with pytest.raises(RecordError):
                class_rows(";".join(bad if i == at else good for i in range(4)))
    for at in (0, 1, 2):
        with pytest.raises(RecordError):
            confusions(";".join(bad if i == at else good for i in range(3)))
    with pytest.raises(RecordError):
        matrix_rows(f"1 1;1 {bad}")


@given(st.lists(st.lists(st.integers(0, 2**63 - 1), min_size=3, max_size=3), min_size=1, max_size=5))
def test_columns_are_read_as_python_reads_them(rows):
    text = ";".join(" ".join(map(str, column)) for column in zip(*rows, strict=True))
    assert [(c.target, c.predicted, c.count) for c in confusions(text)] == [tuple(row) for row in rows]


@pytest.mark.parametrize("stage", ['"classes":"0;%s;1;0"', '"matrix":"%s"', '"classes":"%s"'])
def test_text_that_is_longer_than_its_rows_can_be_is_not_held(stage):
    """It weighs one row: a thousand lines of 32 MB would be kept."""
    line = '{"type":"epoch","epoch":%d,"stages":{"val":{"n":1,' + stage % ("0" * 1000 + "1") + "}}}"
    with pytest.raises(RecordError, match="line 1: class rows or a confusion matrix"):
        lines_to_history([line % i for i in range(3)])


def test_a_negative_weight_cannot_lift_the_limit():
    line = '{"type":"epoch","epoch":1,"stages":{"val":{"n":1,"thinned":-5}}}'
    with pytest.raises(RecordError, match="thinned"):
        lines_to_history([line])


_WRITER = """
import sys
from lightning_diag.history import EpochRecord, RunContext
from lightning_diag.store import append_context, append_epoch
append_context(sys.argv[1], RunContext(seed=1))
print("go", flush=True)
for i in range(10**6):
    append_epoch(sys.argv[1], EpochRecord(epoch=i, values={"x": float(i)}))
    print(i, flush=True)
"""


@pytest.mark.parametrize("delay", [0.01, 0.05])
def test_a_killed_writer_loses_no_finished_epoch(tmp_path, delay):
    path = tmp_path / "history.jsonl"
    process = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "go\n"
    time.sleep(delay)
    os.kill(process.pid, signal.SIGKILL)
    finished = [line for line in process.communicate()[0].split("\n") if line]
    history = read_history(path)
    assert len(history.epochs) >= len(finished)
    assert [r.values["x"] for r in history.epochs] == [float(i) for i in range(len(history.epochs))]
