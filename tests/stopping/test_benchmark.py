"""The benchmark commands on a folder of made-up runs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _root_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


def made_up(number, length=20, censored=None):
    rng = np.random.default_rng(number)
    speed, noise = rng.uniform(2, 12), rng.uniform(0.001, 0.05)
    loss = 0.3 + np.exp(-np.arange(length) / speed) + noise * rng.standard_normal(length)
    series = {"val_loss": loss.tolist(), "train_loss": (loss * 0.9).tolist(), "val_acc": (1 - loss / 2).tolist()}
    by_loss = number % 2
    return {
        "id": f"run{number}",
        "source_repo": f"repo{number % 4}",
        "series": series,
        "epochs": list(range(1, length + 1)),
        "monitor": "val_loss" if by_loss else "val_acc",
        "mode": "min" if by_loss else "max",
        "planned_evals": None if censored else length,
        "censored": censored,
    }


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "curves"
    path.mkdir()
    for number in range(12):
        run = made_up(number, censored="early" if number == 4 else None)
        if number == 7:  # logs have holes
            run["series"]["val_loss"][3:5] = [None, float("nan")]
            run["series"]["train_loss"][6] = None
            run["series"]["lr"] = [None, float("inf"), *[0.1] * 10, *[0.01] * 8]
        (path / f"{number:02}.json").write_text(json.dumps(run), encoding="utf-8")
    return path


def test_benchmark_prints_every_table_for_any_folder(folder, tmp_path, capsys):
    from benchmarks.early_stopping import main

    main(["--curves", str(folder), "--fitted", "--figure", str(tmp_path / "f" / "frontier.svg")])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(result) == {"all", "uncensored", "per_repository", "loss"}
    rules = set(result["all"])
    assert {"adaptive@safe", "adaptive@default", "adaptive@early", "patience 3", "patience 60"} <= rules
    assert all(set(row) == {"saved", "missed", "p95", "n"} for table in result.values() for row in table.values())
    counts = [result[name]["patience 3"]["n"] for name in ("all", "uncensored", "per_repository", "loss")]
    assert counts == [12, 11, 4, 6]
    assert (tmp_path / "f" / "frontier.svg").stat().st_size > 1000


def test_an_empty_folder_is_refused(tmp_path):
    from benchmarks.early_stopping import main

    with pytest.raises(FileNotFoundError, match="one JSON file per run"):
        main(["--curves", str(tmp_path), "--fitted"])


def test_fit_is_reproducible_and_never_sees_the_repository_it_is_tried_on(folder):
    from benchmarks.fit_stopping import Study
    from benchmarks.recorded_curves import load

    curves = load(folder)
    study = Study.of(curves, planned=True)
    fit = study.cross_fit()
    assert json.dumps(study.shipped(fit)) == json.dumps(study.shipped(fit))
    assert len(fit.models) == 4, "one fold per repository where there are few"
    upside_down = [replace(run, missed=1 - run.missed) if run.curve.repo == "repo0" else run for run in study.runs]
    again = replace(study, runs=upside_down).cross_fit()
    for run, a, b in zip(study.runs, fit.scores, again.scores, strict=True):
        assert np.allclose(a, b, equal_nan=True) == (run.curve.repo == "repo0")


def test_missed_gain_and_patience():
    from benchmarks.recorded_curves import Curve
    from benchmarks.stopping_peers import gl, patience, ray_plateau, up

    data = {"series": {"val_acc": [0.1, 0.5, 0.4, 0.4, 0.9]}, "monitor": "val_acc", "mode": "max"}
    curve = Curve("a", "r", data)
    assert curve.missed.round(3).tolist() == [1.0, 0.5, 0.5, 0.5, 0.0]
    assert [patience(k)(curve) for k in (1, 2, 3)] == [3, 4, 5]
    assert gl(5.0)(curve) == 3
    flat = Curve("b", "r", {"series": {"val_loss": [1.0] * 9}, "monitor": "val_loss", "mode": "min"})
    assert ray_plateau()(flat) == 4
    rising = Curve("c", "r", {"series": {"val_loss": list(range(1, 41))}, "monitor": "val_loss", "mode": "min"})
    assert up(3)(rising) == 20


@pytest.mark.filterwarnings("ignore:PatientPruner is experimental")
@pytest.mark.parametrize("wait", [0, 2, 5])
def test_optuna_patient_pruner_is_restated_as_it_ships(wait):
    optuna = pytest.importorskip("optuna")
    from benchmarks.recorded_curves import Curve
    from benchmarks.stopping_peers import optuna_patient

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pruner = optuna.pruners.PatientPruner(None, patience=wait)
    study = optuna.create_study(direction="minimize")
    for seed in range(5):
        loss = made_up(seed)["series"]["val_loss"]
        curve = Curve("x", "r", {"series": {"val_loss": loss}, "monitor": "val_loss", "mode": "min"})
        trial = study.ask()
        for i, value in enumerate(loss):
            trial.report(value, i)
            if pruner.prune(study, study._storage.get_trial(trial._trial_id)):
                break
        assert optuna_patient(wait)(curve) == i + 1
