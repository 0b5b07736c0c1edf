import os
import threading
from pathlib import Path

import pytest

from lightning_diag import output
from lightning_diag.findings import Diagnosis
from lightning_diag.history import EpochRecord, RunHistory
from lightning_diag.output import move_aside, replace_file, start_record, write_report

HISTORY = RunHistory(
    epochs=tuple(EpochRecord(epoch=i, values={"val/loss": 1.0 + i, "train/loss": 1.0}) for i in range(4))
)
DIAGNOSIS = Diagnosis(verdict="Something.")


@pytest.mark.figures
def test_a_report_is_markdown_json_and_figures(tmp_path):
    path = write_report(tmp_path / "run", HISTORY, DIAGNOSIS)
    assert path == tmp_path / "run" / "diagnosis.md"
    assert "](<diagnosis/curves.svg>)" in path.read_text()
    assert {p.name for p in path.parent.iterdir()} == {"diagnosis.md", "diagnosis.json", "diagnosis"}
    assert (tmp_path / "run" / "diagnosis" / "curves.svg").read_bytes().startswith(b"<?xml")


@pytest.mark.figures
def test_an_older_report_is_moved_aside_with_its_figures_still_linked(tmp_path):
    for i in range(3):
        start_record(tmp_path, [f'{{"type":"epoch","epoch":{i}}}'])
        write_report(tmp_path, HISTORY, Diagnosis(verdict=f"Run {i}."))
    assert "Run 2." in (tmp_path / "diagnosis.md").read_text()
    for number, verdict in ((1, "Run 0."), (2, "Run 1.")):
        text = (tmp_path / f"diagnosis.{number}.md").read_text()
        assert verdict in text
        assert f"](<diagnosis.{number}/curves.svg>)" in text
        assert (tmp_path / f"diagnosis.{number}" / "curves.svg").exists()
        assert (tmp_path / f"history.{number}.jsonl").exists()
        assert (tmp_path / f"diagnosis.{number}.json").exists()


def test_files_of_one_run_get_the_same_number(tmp_path):
    (tmp_path / "diagnosis.1.json").write_text("older")
    (tmp_path / "diagnosis.md").write_text("new")
    (tmp_path / "history.jsonl").write_text("new")
    move_aside(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["diagnosis.1.json", "diagnosis.2.md", "history.2.jsonl"]
    move_aside(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    target = tmp_path / "diagnosis.md"
    replace_file(target, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    for call in ("replace", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, full)
            with pytest.raises(OSError, match="No space left"):
                replace_file(target, b"new")
        assert target.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [target]


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path):
    target = tmp_path / "diagnosis.md"
    texts = [bytes([65 + i]) * 100_000 for i in range(2)]
    replace_file(target, texts[0])
    torn = []
    done = threading.Event()

    def read():
        while not done.is_set():
            if target.read_bytes() not in texts:
                torn.append(True)

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(50):
        replace_file(target, texts[i % 2])
    done.set()
    reader.join()
    assert not torn


def test_a_folder_that_cannot_be_written_says_why(tmp_path, monkeypatch):
    assert output.cannot_write(tmp_path / "new" / "folder") is None
    (tmp_path / "file").write_text("")
    assert output.cannot_write(tmp_path / "file" / "x")

    def read_only(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", read_only)
    assert output.cannot_write(tmp_path / "other") == "Read-only file system"
