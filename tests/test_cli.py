import json
import math
import os
import subprocess
import sys

import pytest

from lightning_diag.cli import main
from lightning_diag.engine import diagnose
from lightning_diag.history import EpochRecord, OptimFacts, RunContext, RunHistory, StopFacts
from lightning_diag.rules import RULES
from lightning_diag.stopping import replay
from lightning_diag.store import append_context, append_epoch, read_history

LOG = "epoch,train_loss,val_loss,top1\n" + "".join(
    f"{i},{2.0 / (i + 1):.4f},{1.0 + max(0, i - 3) * 0.4:.4f},{(21 - i) / 0.29:.2f}\n" for i in range(8)
)


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(LOG)
    return path


def error(capsys, *arguments):
    """The one line that a failing command prints."""
    assert main(list(map(str, arguments))) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("lightning-diag: ")
    assert err.count("\n") == 1
    return err


def test_help_is_quick_and_loads_nothing_heavy():
    code = (
        "import sys\n"
        "from lightning_diag.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'scipy', 'pydantic', 'matplotlib', 'lightning', 'jinja2'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for command in ("demo", "diagnose", "compare", "verify", "stopping", "html", "explain", "schema"):
        assert f"  {command} " in out


def test_diagnosing_a_csv_loads_no_torch(log):
    code = (
        "import sys\n"
        "from lightning_diag.cli import main\n"
        "assert main(['diagnose', sys.argv[1]]) == 0\n"
        "heavy = {'torch', 'lightning', 'pytorch_lightning', 'torchmetrics'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code, str(log)], capture_output=True, text=True, check=True)


@pytest.mark.figures
def test_diagnose_a_csv(log, capsys):
    assert main(["diagnose", str(log), "--map", "val_acc=top1", "--n-val", "29", "--classes", "4", "--no-figures"]) == 0
    out = capsys.readouterr().out
    assert "top1 -> val/acc" in out
    assert "LD201" in out
    folder = log.parent / "log-diagnosis"
    assert (folder / "diagnosis.md").read_text().startswith("# Diagnosis")
    assert json.loads((folder / "diagnosis.json").read_text())
    assert main(["diagnose", str(log), "--fail-on", "warning", "--quiet", "--out", str(log.parent / "x")]) == 1
    assert capsys.readouterr().out == ""
    assert (log.parent / "x" / "diagnosis").is_dir()


def test_diagnose_prints_the_report_and_takes_thresholds(log, tmp_path, capsys):
    assert main(["diagnose", str(log), "--out", "-"]) == 0
    assert "LD201" in capsys.readouterr().out
    assert main(["diagnose", str(log), "--out", "-", "--set", "LD201.rise=99", "--fail-on", "warning"]) == 0
    config = tmp_path / "rules.yaml"
    config.write_text("LD201:\n  rise: 99\n")
    assert main(["diagnose", str(log), "--out", "-", "--config", str(config), "--fail-on", "warning"]) == 0
    assert not (tmp_path / "log-diagnosis").exists()


def test_diagnose_a_killed_run_writes_into_its_folder(tmp_path, capsys):
    context = RunContext(stop=StopFacts(status="running"), started="2026-05-01T13:44:30+00:00")
    append_context(tmp_path / "history.jsonl", context)
    append_epoch(tmp_path / "history.jsonl", EpochRecord(epoch=0, values={"val/loss": 1.0, "time/epoch": 90.0}))
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"type":"epo')
    assert main(["diagnose", str(tmp_path), "--no-figures"]) == 0
    told, page = capsys.readouterr().out, (tmp_path / "diagnosis.md").read_text(encoding="utf-8")
    assert "torn" in told
    assert "killed or is still going; the last epoch written is 0, at about 2026-05-01 13:46 UTC" in told
    assert page.splitlines()[0].endswith("epoch 0 (no end recorded)")
    assert "| last written | 0 |" in page
    assert "| how it ended | no end recorded |" in page
    assert "running |" not in page


@pytest.mark.parametrize(
    ("started", "seconds"), [(None, 90.0), ("2026-05-01T13:44:30+00:00", None), ("yesterday", 90.0)]
)
def test_a_time_that_is_not_known_is_not_made_up(started, seconds):
    values = {"val/loss": 1.0} | ({} if seconds is None else {"time/epoch": seconds})
    context = RunContext(stop=StopFacts(status="running"), started=started)
    verdict = diagnose(RunHistory(context=context, epochs=(EpochRecord(epoch=3, values=values),))).verdict
    assert verdict.endswith("the last epoch written is 3.")


def test_a_resumed_log_is_compared_with_where_it_started(tmp_path, capsys):
    """The published accuracies of a run that resumed from 21 of 29 and had 5 of 29 after one epoch."""
    path = tmp_path / "log.csv"
    rows = [(22, 78.12, 5), (26, 90.18, 18), (31, 94.64, 19), (36, 97.32, 17), (41, 97.77, 17)]
    path.write_text("epoch,train_acc,val_acc\n" + "".join(f"{e},{t},{100 * k / 29:.2f}\n" for e, t, k in rows))
    said = ["--n-val", "29", "--n-train", "224", "--classes", "4", "--baseline", "21/29", "--target", "0.82"]
    assert main(["diagnose", str(path), *said, "--out", "-"]) == 0
    out = capsys.readouterr().out
    assert "LD503" in out
    assert "21/29" in out
    assert "219/224" in out
    assert "82 %" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "nothing does not exist"),
        ([], "holds no log that can be read"),
        (["log.csv", "--map", "val_acc=nothing"], "no column 'nothing'"),
        (["log.csv", "--map", "val_acc"], "expected a name, = and a value"),
        (["log.csv", "--map", "what=top1"], "not the name of a signal"),
        (["log.csv", "--baseline", "29/21"], "expected correct/samples"),
        (["log.csv", "--set", "LD201=3"], "expected CODE.FIELD=VALUE"),
        (["log.csv", "--set", "LD201.rise=high"], "'high' is not a number"),
        (["log.csv", "--set", "LD999.rise=1"], "LD999"),
        (["log.csv", "--set", "LD301.samples=2.5"], "LD301.samples is 2.5: expected a whole number"),
        (["log.csv", "--config", "none.yaml"], "--config none.yaml: No such file"),
        (["log.csv", "--config", "."], "--config .: Is a directory"),
    ],
)
def test_errors_are_one_clear_sentence(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    if arguments:
        (tmp_path / "log.csv").write_text(LOG)
    assert message in error(capsys, "diagnose", *(arguments or ["."]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds nothing: expected codes with fields"),
        ("- a", "holds ['a']: expected codes with fields"),
        ("rise: 0.3", "rise is 0.3: expected codes with fields"),
        ("LD201:", "LD201 is None: expected codes with fields"),
        ("LD201: {rise: high}", "LD201.rise is 'high': expected a number"),
        ("LD201: {what: 1}", "no setting 'what'; it has: rise"),
        ("LD999: {rise: 1}", "no code 'LD999'"),
        ("a: b: c", "no YAML in line 1"),
    ],
)
def test_a_file_of_thresholds_that_cannot_be_taken_is_one_clear_sentence(log, tmp_path, capsys, text, message):
    (tmp_path / "rules.yaml").write_text(text)
    assert message in error(capsys, "diagnose", log, "--config", tmp_path / "rules.yaml")


def test_a_file_of_thresholds_may_hold_numbers_that_yaml_reads_as_text(log, tmp_path, capsys):
    (tmp_path / "rules.yaml").write_text("LD201:\n  rise: 9e1\n")
    assert main(["diagnose", str(log), "--out", "-", "--config", str(tmp_path / "rules.yaml")]) == 0
    assert "LD201: rise 90," in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_one_clear_sentence(log, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert "file" in error(capsys, "diagnose", log, "--out", tmp_path / "file" / "x")


def test_wrong_sizes_are_refused(log, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["diagnose", str(log), "--n-val", "0"])
    assert stop.value.code == 2
    assert "at least 1" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["diagnose", "compare", "demo"])
def test_a_file_in_place_of_the_folder_is_told_before_the_work(log, capsys, command):
    given = {"diagnose": [log], "compare": [log, log], "demo": ["healthy"]}[command]
    assert "this is a file. Give another folder: --out DIR" in error(capsys, command, *given, "--out", log)


def test_weights_in_place_of_a_log_are_told_apart(tmp_path, capsys):
    (tmp_path / "last.ckpt").write_bytes(b"PK")
    assert "looks like weights" in error(capsys, "diagnose", tmp_path / "last.ckpt")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["diagnose"], "required: RUN"),
        (["diagnose", "x", "--target", "high"], "expected a number such as 0.82, got 'high'"),
        (["diagnose", "x", "--target", "nan"], "expected a number"),
        (["frobnicate"], "invalid choice"),
    ],
)
def test_a_wrong_call_is_one_sentence_that_says_where_the_usage_is(capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert message in text
    assert text.endswith("--help\n")


def test_without_a_command_it_says_what_there_is(capsys):
    assert main([]) == 2
    assert "examples:" in capsys.readouterr().out


def test_explain_prints_the_page_of_each_rule_and_lists_them(capsys):
    assert main(["explain"]) == 0
    listed = capsys.readouterr().out
    for rule in RULES:
        assert f"{rule.code}  {rule.name}" in listed
        assert main(["explain", rule.name]) == 0
        assert capsys.readouterr().out.startswith(f"# {rule.code}")
    assert "did you mean LD201 (overfitting)" in error(capsys, "explain", "overfiting")
    assert "LD201" in error(capsys, "explain", "LD2O1")
    for unknown in ("zzzzzzzz", "LD999"):
        assert f"no rule '{unknown}'; all codes: lightning-diag explain" in error(capsys, "explain", unknown)


def test_schema_is_json(capsys):
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["$schema"]


def test_html_is_one_page(log, capsys):
    assert main(["html", str(log), "--out", str(log.parent / "page.html")]) == 0
    text = (log.parent / "page.html").read_text()
    assert text.lower().startswith("<!doctype html>")
    assert "LD201" in text
    assert main(["html", str(log), "--out", str(log.parent)]) == 0
    assert (log.parent / "diagnosis.html").read_text() == text


def test_verify_answers_with_its_exit_code(tmp_path, capsys):
    import torch

    weights = {f"layer{i}.weight": torch.randn(8, 8) for i in range(3)}
    torch.save(weights, tmp_path / "a.pt")
    torch.save({"state_dict": {f"encoder.{k}": v for k, v in weights.items()}}, tmp_path / "b.ckpt")
    torch.save({k: torch.randn(8, 8) for k in weights}, tmp_path / "c.pt")
    assert main(["verify", str(tmp_path / "a.pt"), "--against", str(tmp_path / "b.ckpt")]) == 0
    assert "loaded" in capsys.readouterr().out
    assert main(["verify", str(tmp_path / "a.pt"), "--against", str(tmp_path / "c.pt")]) == 1
    assert "not loaded" in capsys.readouterr().out
    assert "none.pt" in error(capsys, "verify", tmp_path / "none.pt", "--against", tmp_path / "c.pt")


def test_stopping_says_where_it_would_have_stopped(log, tmp_path, capsys):
    assert main(["stopping", str(log)]) == 0
    out = capsys.readouterr().out
    assert "val/loss" in out
    assert "would" in out
    (tmp_path / "train.csv").write_text("epoch,train_loss\n0,1\n1,0.5\n")
    assert "no validation series" in error(capsys, "stopping", tmp_path / "train.csv")


def test_stopping_shows_rows_that_say_something(tmp_path, capsys):
    rows = [f"{i},{0.3 + 0.7 * 0.9**i:.4f},{0.3 + 0.7 * 0.9**i:.4f}\n" for i in range(120)]
    for many in (2, 10, 120):
        (tmp_path / "log.csv").write_text("epoch,train_loss,val_loss\n" + "".join(rows[:many]))
        assert main(["stopping", str(tmp_path / "log.csv")]) == 0
        out = capsys.readouterr().out
        shown = [line for line in out.splitlines() if line.strip()[:1].isdigit()]
        if many == 2:
            assert "too few evaluations: 2" in out
            assert not shown
        else:
            assert all("%" in line for line in shown)
            assert len(shown) == 8 if many == 10 else 30 <= len(shown) <= 42
            assert "epochs before 2: fewer than three values" in out
    assert "every 3rd of 118 evaluations" in out
    assert sum(line.endswith("stop") for line in shown) == 1


def test_stopping_says_where_the_planned_end_is_not_known(log, tmp_path, capsys):
    assert main(["stopping", str(log)]) == 0
    assert "does not say how long the run was planned" in capsys.readouterr().out
    known = RunContext(optim=OptimFacts(planned_epochs=9))
    append_context(tmp_path / "run" / "history.jsonl", known)
    append_epoch(tmp_path / "run" / "history.jsonl", EpochRecord(epoch=0, values={"val/loss": 1.0}))
    assert main(["stopping", str(tmp_path / "run")]) == 0
    assert "planned" not in capsys.readouterr().out


def test_the_csv_beside_a_record_does_not_replace_the_report_of_the_run(tmp_path, capsys):
    append_context(tmp_path / "history.jsonl", RunContext())
    append_epoch(tmp_path / "history.jsonl", EpochRecord(epoch=0, values={"val/loss": 1.0}))
    assert main(["diagnose", str(tmp_path), "--no-figures", "--quiet"]) == 0
    before = (tmp_path / "diagnosis.md").read_bytes()
    (tmp_path / "metrics.csv").write_text("epoch,step,val_loss\n0,9,1.0\n1,19,0.5\n")
    assert main(["diagnose", str(tmp_path / "metrics.csv"), "--no-figures"]) == 0
    assert "record of lightning_diag, which knows more" in capsys.readouterr().out
    assert (tmp_path / "diagnosis.md").read_bytes() == before
    assert (tmp_path / "metrics-diagnosis" / "diagnosis.md").exists()


def test_stopping_says_where_the_report_decided_otherwise(tmp_path, capsys):
    for epoch in range(5):
        append_epoch(tmp_path / "history.jsonl", EpochRecord(epoch=epoch, values={"val/loss": 1.0 / (epoch + 1)}))
    append_context(tmp_path / "history.jsonl", RunContext(stop=StopFacts(would_stop_epoch=3)))
    assert main(["stopping", str(tmp_path)]) == 0
    assert "The report of the run says epoch 3" in capsys.readouterr().out
    append_context(tmp_path / "history.jsonl", RunContext(stop=StopFacts(stopper="AdaptiveEarlyStop")))
    assert main(["stopping", str(tmp_path)]) == 0
    assert "stopped by AdaptiveEarlyStop after epoch 4" in capsys.readouterr().out


def test_a_stop_after_the_last_epoch_is_no_earlier_end(tmp_path, capsys):
    for epoch in range(5):
        nan = (
            {"val/loss": math.nan, "train/loss": math.nan}
            if epoch == 4
            else {"val/loss": 1.0 / (epoch + 1), "train/loss": 1.0}
        )
        append_epoch(tmp_path / "history.jsonl", EpochRecord(epoch=epoch, values=nan))
    append_context(tmp_path / "history.jsonl", RunContext())
    assert main(["stopping", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "It would not have stopped before the end: the criterion is met after epoch 4, the last one." in said
    assert "That saves" not in said
    assert (
        "the monitored value is NaN and the training loss NaN"
        in replay(read_history(tmp_path / "history.jsonl")).stop.reason
    )


@pytest.mark.figures
@pytest.mark.parametrize("kind", ["own", "csv"])
@pytest.mark.parametrize("command", ["diagnose", "stopping", "html"])
def test_of_several_runs_the_taken_one_is_named_and_how_to_take_another(tmp_path, capsys, command, kind):
    for i in (0, 1):
        folder = tmp_path / f"version_{i}"
        folder.mkdir()
        if kind == "own":
            append_context(folder / "history.jsonl", RunContext())
            append_epoch(folder / "history.jsonl", EpochRecord(epoch=0, values={"val/loss": 1.0}))
        else:
            (folder / "log.csv").write_text(LOG)
        os.utime(folder / ("history.jsonl" if kind == "own" else "log.csv"), (1_000_000 - i, 1_000_000 - i))
    assert main([command, str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"read {tmp_path / 'version_0'}")
    assert f"{tmp_path} holds 2 runs; this is the newest one" in out
    other = out.partition("to read that: ")[2].splitlines()[0]
    assert other.startswith(str(tmp_path / "version_1"))
    assert main([command, other]) == 0
    assert "newest" not in capsys.readouterr().out


@pytest.fixture
def two_logs(tmp_path):
    for name, more in (("a", 0), ("b", 9)):
        rows = [f"{i},{2 / (i + 1):.4f},{100 * (10 + i + more) / 29:.2f},1.5\n" for i in range(6)]
        (tmp_path / f"{name}.csv").write_text("epoch,train_loss,top1,val_loss\n" + "".join(rows))
    return [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]


def test_compare_takes_what_diagnose_takes_about_a_foreign_log(two_logs, capsys):
    said = ["--map", "val_acc=top1", "--n-val", "29", "--n-train", "224", "--classes", "4", "--target", "0.9"]
    assert main(["compare", *two_logs, *said, "--out", "-"]) == 0
    out, err = capsys.readouterr()
    assert "24/29 = 83 %" in out
    assert "Fisher" in out
    assert "top1 read as per cent" in err
    assert main(["diagnose", two_logs[0], *said, "--out", "-"]) == 0
    assert "15/29 = 52 %" in capsys.readouterr().out


def test_compare_takes_a_run_once_and_says_what_a_column_may_mean(two_logs, tmp_path, capsys):
    twice = [two_logs[0], str(tmp_path / "." / ".." / tmp_path.name / "a.csv"), "--map", "val_acc=top1"]
    assert main(["compare", *twice, "--out", "-"]) == 2
    assert "two different ones" in capsys.readouterr().err
    assert main(["compare", *two_logs, "--out", "-"]) == 0
    assert "note, all runs: top1 does not say which stage it is: --map val_acc=top1" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["diagnose", "compare", "stopping", "html"])
def test_a_folder_of_several_files_names_them(two_logs, tmp_path, capsys, command):
    assert "name the file, a.csv and b.csv" in error(capsys, command, tmp_path)


def test_a_closed_pipe_is_no_error(log):
    command = f"{sys.executable} -m lightning_diag explain | head -c 3"
    done = subprocess.run(command, shell=True, check=False, capture_output=True, text=True)
    assert done.stderr == ""
