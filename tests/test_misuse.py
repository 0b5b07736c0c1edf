"""What bad use gets: a clear sentence, before training where possible."""

import re

import pytest
from lightning.fabric.utilities.exceptions import MisconfigurationException
from toys import Toy, fit, loader, trainer

from lightning_diag import (
    AdaptiveEarlyStop,
    ClassCollapseDetector,
    CTCBlankMonitor,
    GapMonitor,
    PretrainLoadVerifier,
    diagnosis_of,
)
from lightning_diag.cli import main
from lightning_diag.errors import DiagError


@pytest.mark.parametrize(
    ("callback", "words"),
    [
        (lambda: GapMonitor(baseline=(30, 29)), r"expected \(correct, samples\)"),
        (lambda: GapMonitor(mode="up"), 'expected "min" or "max"'),
        (lambda: GapMonitor(probe_batches=-1), "expected 0"),
        (lambda: GapMonitor(thresholds={"LD999": {"rise": 1}}), "LD999"),
        (lambda: GapMonitor(thresholds={"LD201": {"nonsense": 1}}), "nonsense"),
        (lambda: GapMonitor(thresholds={"LD201": {"rise": "high"}}), r"LD201.rise is 'high': expected a number"),
        (lambda: GapMonitor(thresholds={"LD201": 0.3}), "expected code -> field -> value"),
        (lambda: GapMonitor(thresholds=0.3), "expected code -> field -> value"),
        (lambda: CTCBlankMonitor(blank=-1), "index of 0 or more"),
        (lambda: AdaptiveEarlyStop(max_missed_gain="later"), "safe, default, early"),
        (lambda: AdaptiveEarlyStop(min_gain=2.0), "min_gain"),
        (lambda: AdaptiveEarlyStop(stop_at_target=True), "needs target"),
        (lambda: PretrainLoadVerifier("missing.pt"), "missing.pt"),
        (lambda: PretrainLoadVerifier("missing.pt", on_not_loaded="explode"), "explode"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_training(tmp_path, callback, words):
    module = Toy()
    with pytest.raises(MisconfigurationException, match=words):
        fit(tmp_path, [callback()], module)


def test_a_folder_that_cannot_be_written_is_told_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MisconfigurationException, match="cannot be written"):
        fit(tmp_path, [GapMonitor(dirpath=tmp_path / "file" / "sub")])


def test_two_callbacks_that_disagree_are_told(tmp_path):
    with pytest.raises(MisconfigurationException, match="dirpath"):
        fit(tmp_path, [GapMonitor(dirpath=tmp_path / "a"), ClassCollapseDetector(dirpath=tmp_path / "b")])


def test_thresholds_of_two_callbacks_are_laid_together(tmp_path):
    both = [GapMonitor(thresholds={"LD201": {"rise": 9.0}}), ClassCollapseDetector(thresholds={"LD201": {"gap": 8.0}})]
    thresholds = diagnosis_of(fit(tmp_path, both)).diagnosis.thresholds["LD201"]
    assert (thresholds["rise"], thresholds["gap"]) == (9.0, 8.0)
    with pytest.raises(MisconfigurationException, match=r"LD201.rise.*differently: 9.0 and 8.0"):
        fit(tmp_path, [both[0], ClassCollapseDetector(thresholds={"LD201": {"rise": 8.0}})])


def test_an_unknown_monitor_names_those_that_exist(tmp_path):
    with pytest.warns(RuntimeWarning, match=r"no such series.*val/acc"):
        run = fit(tmp_path, [GapMonitor(monitor="val_f2")], epochs=1)
    assert diagnosis_of(run).history.monitored() == ("val/acc", "max")


def test_a_monitor_can_be_named_as_the_module_logs_it(tmp_path):
    run = fit(tmp_path, [GapMonitor(monitor="val_loss")], epochs=1)
    assert diagnosis_of(run).history.monitored() == ("logged/val_loss", "min")


def test_an_unknown_monitor_of_the_stopper_names_those_that_exist(tmp_path):
    with pytest.warns(RuntimeWarning, match=r"no such series.*val/loss"):
        fit(tmp_path, [AdaptiveEarlyStop(monitor="val_f2")], epochs=1)


def test_class_names_of_another_number_are_told_and_not_used(tmp_path):
    with pytest.warns(RuntimeWarning, match="2 class names were given for 3 classes"):
        run = fit(tmp_path, [GapMonitor(class_names=["a", "b"])], epochs=1)
    assert diagnosis_of(run).history.class_name(1) == "class 1"


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
def test_barebones_switches_the_monitors_off(tmp_path):
    off = dict.fromkeys(("enable_checkpointing", "logger", "enable_progress_bar", "enable_model_summary"))
    run = trainer(tmp_path, [GapMonitor()], epochs=1, barebones=True, **off)
    with pytest.warns(RuntimeWarning, match="barebones"):
        run.fit(Toy(), loader(), loader(31, 2))
    with pytest.raises(DiagError, match="no recorded fit"):
        diagnosis_of(run)


def test_a_trainer_without_monitors_has_no_diagnosis(tmp_path):
    with pytest.raises(DiagError, match="Attach a monitor"):
        diagnosis_of(fit(tmp_path, [], epochs=1))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (80, "val/acc is a share between 0 and 1. Did you mean 0.8?"),
        (-1, "val/acc is a share"),
        ("80%", "expected a number"),
    ],
)
def test_a_target_that_cannot_be_reached(tmp_path, capsys, target, message):
    with pytest.raises(MisconfigurationException, match=re.escape(message)):
        fit(tmp_path, [GapMonitor(target=target, dirpath=tmp_path)])
    if not isinstance(target, str):
        log = tmp_path / "log.csv"
        log.write_text("epoch,val_acc\n0,0.5\n1,0.6\n")
        assert main(["diagnose", str(log), f"--target={target}", "--out", "-"]) == 2
        assert message in capsys.readouterr().err
