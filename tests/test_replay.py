"""The same run, seen live, from its record and from Lightning's own log, is the same history and the same diagnosis."""

from dataclasses import replace

import pytest
from lightning.pytorch.loggers import CSVLogger
from toys import CLASSES, Toy, loader, trainer

from lightning_diag import ClassCollapseDetector, GapMonitor, diagnosis_of
from lightning_diag.cli import main
from lightning_diag.comparison import Run, compare
from lightning_diag.engine import diagnose
from lightning_diag.readers import read_run


def fitted(folder, lr=0.1, seed=0, **kwargs):
    run = trainer(folder, [GapMonitor(dirpath=str(folder)), ClassCollapseDetector()], epochs=4, **kwargs)
    run.fit(Toy(lr=lr), loader(60, seed=seed, shuffle=True), loader(30, seed=1))
    return diagnosis_of(run)


def test_the_record_gives_the_live_history_and_diagnosis(tmp_path):
    live = fitted(tmp_path)
    history, report = read_run(tmp_path)
    assert report.kind == "lightning_diag record"
    assert history == live.history
    assert diagnose(history) == live.diagnosis
    assert history.context.hparams["lr"] == "0.1"


def test_lightnings_log_gives_the_same_curves(tmp_path):
    live = fitted(tmp_path / "run", logger=CSVLogger(tmp_path, "csv"), log_every_n_steps=1)
    history, _ = read_run(tmp_path / "csv", classes=CLASSES, n_val=30)
    assert history.series("val/loss").epochs == live.history.series("val/loss").epochs
    for name in ("val/loss", "train/loss"):
        assert list(history.series(name).values) == pytest.approx(list(live.history.series(name).values), rel=1e-5)


def test_two_recorded_runs_are_compared_sample_by_sample(tmp_path, capsys):
    runs = [
        Run(name=n, history=f.history, diagnosis=f.diagnosis)
        for n, f in (("a", fitted(tmp_path / "a")), ("b", fitted(tmp_path / "b", lr=1e-4)))
    ]
    (outcome,) = runs[0].history.context.outcomes
    best = runs[0].history.best_record()
    assert (outcome.n, outcome.epoch) == (30, best.epoch)
    assert int(outcome.right, 16).bit_count() == best.stages["val"].correct.k
    (difference,) = compare(runs).differences
    assert "McNemar" in difference.method
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--out", "-"]) == 0
    page = capsys.readouterr().out
    assert "paired by sample" in page
    assert "| lr | 0.1 | 0.0001 |" in page
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path), "--no-figures"]) == 0
    verdict = next(line for line in page.splitlines() if line.startswith("**")).split("**")[1]
    assert capsys.readouterr().out.startswith(f"2 runs. {verdict}")


def test_a_part_of_the_record_is_a_part_of_the_history(tmp_path):
    live = fitted(tmp_path)
    lines = (tmp_path / "history.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "history.jsonl").write_text("".join(lines[:-1]) + lines[-1][: len(lines[-1]) // 2])
    history, _ = read_run(tmp_path)
    assert history.epochs == live.history.epochs
    assert replace(history.context, notes=(), outcomes=(), stop=live.history.context.stop).task == "multiclass"
