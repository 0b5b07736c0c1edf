"""The word of each epoch."""

from __future__ import annotations

import math
from dataclasses import replace

from lightning_diag.engine import diagnose
from lightning_diag.findings import Diagnosis
from lightning_diag.history import Baseline, Count, EpochRecord, Event, RunContext, RunHistory, StageRecord, StopFacts
from lightning_diag.report.figures.curves import _marks
from lightning_diag.report.sections.epochs import thinned
from lightning_diag.report.sections.status import statuses
from lightning_diag.report.view import View
from tests.build import history
from tests.report import runs


def _view(correct, n=29, context=None, start=0, diagnosis=None, **values):
    records = []
    for i, k in enumerate(correct):
        more = {key.replace("_", "/"): series[i] for key, series in values.items()}
        stages = {"val": StageRecord(n=n, correct=Count(k=k, n=n))}
        records.append(EpochRecord(epoch=start + i, values={"val/acc": k / n, **more}, stages=stages))
    return View(
        history=RunHistory(context=context or RunContext(), epochs=tuple(records)),
        diagnosis=diagnosis or Diagnosis(verdict=""),
    )


def test_a_resumed_run_drops_and_recovers():
    found = statuses(View(history=runs.resumed(), diagnosis=runs.resumed_diagnosis()))
    assert [w[0] for w in found] == ["drop", "recovering", "learning rate restarts", "overfitting", "overfitting"]
    assert found[-1] == ("overfitting", "stopped")


def test_a_healthy_run_improves_to_its_best():
    found = statuses(_view([5, 12, 20, 22, 22], context=RunContext(stop=StopFacts(status="finished"))))
    assert found == [(), ("improving",), ("improving",), ("best",), ("level", "final")]


def test_noise_of_a_small_validation_set_is_no_drop():
    assert not any("drop" in w for w in statuses(_view([18, 14, 19, 15, 20, 16])))


def test_a_fall_beyond_chance_is_one():
    assert statuses(_view([180, 150, 185], n=200))[1] == ("drop",)


def test_a_slide_is_not_called_level():
    """From 69 to 45 % in steps that are no drop; one sample less is level."""
    found = statuses(_view([15, 20, 19, 17, 15, 13]))
    assert [w[0] for w in found[2:]] == ["level", "level", "lower", "lower"]


def test_a_stop_that_only_the_replay_saw_marks_its_row():
    context = RunContext(task="ctc", stop=StopFacts(would_stop_epoch=2))
    assert statuses(_view([10, 20, 19, 19], context=context))[2] == ("would stop", "level")


def test_a_loss_that_is_not_finite_diverged():
    found = statuses(_view([10, 11], train_loss=[1.0, math.nan]))
    assert found[1][0] == "diverged"


def test_a_restored_history_keeps_its_order_and_names_the_start():
    baseline = Baseline(source="restored history", epoch=1, correct=Count(k=20, n=29))
    view = _view([10, 20, 4, 12], context=RunContext(baseline=baseline, resumed_epoch=2))
    assert [" ".join(w) for w in statuses(view)] == ["", "baseline best", "drop", "recovering final"]
    from lightning_diag.report import render_markdown

    rows = render_markdown(view.history, view.diagnosis).split("## Epochs")[1]
    assert rows.index("| 0 |") < rows.index("| 1 |") < rows.index("| 2 |")
    assert rows.count("| 1 |") == 1


def test_events_are_named():
    view = _view([10, 11])
    records = (
        replace(view.history.epochs[0], events=(Event(kind="resume"), Event(kind="best"))),
        view.history.epochs[1],
    )
    assert statuses(replace(view, history=replace(view.history, epochs=records)))[0] == ("resumed",)


def test_a_series_without_counts_is_judged_by_its_own_noise():
    values = [0.50, 0.52, 0.51, 0.54, 0.53, 0.56, 0.20, 0.40]
    history = RunHistory(epochs=tuple(EpochRecord(epoch=i, values={"val/acc": v}) for i, v in enumerate(values)))
    assert [bool({"drop"} & set(w)) for w in statuses(View(history=history, diagnosis=Diagnosis(verdict="")))] == [
        False
    ] * 6 + [True, False]


def test_thinning_keeps_both_ends_and_what_tells():
    telling = [i in {500, 777} for i in range(1000)]
    kept = thinned(telling, 24)
    assert {0, 500, 777, 999} <= set(kept)
    assert len(kept) == 24
    assert thinned([True] * 1000, 24)[-1] == 999
    assert len(thinned([True] * 1000, 24)) == 24
    assert thinned([False] * 30, 24) == list(range(30))


def test_the_best_of_several_evaluations_of_one_epoch_is_that_one():
    records = tuple(EpochRecord(epoch=0, step=i, values={"val/acc": v}) for i, v in enumerate((0.5, 0.9, 0.4)))
    history = RunHistory(epochs=records)
    assert history.best_record() is records[1]
    assert [w[:1] for w in statuses(View(history=history, diagnosis=Diagnosis(verdict="")))][1] == ("best",)


def test_a_rise_of_less_than_a_hundredth_is_no_drop():
    """Three values hardly tell their own noise."""
    epochs = tuple(EpochRecord(epoch=i, values={"val/loss": loss}) for i, loss in enumerate([0.770, 0.770, 0.771]))
    found = statuses(View(history=RunHistory(epochs=epochs), diagnosis=Diagnosis(verdict="")))
    assert [words[0] for words in found[1:]] == ["level", "level"]


def test_a_divergence_has_one_date():
    """Steps broke in epoch 2, whose mean over the others is finite; the training loss is NaN one epoch later."""
    nan = math.nan
    series = {
        "train/loss": [1.0, 0.6, 0.9, nan, nan],
        "val/loss": [1.1, 0.7, nan, nan, nan],
        "loss/nonfinite_steps": [0, 0, 5, 6, 6],
    }
    run = history(series, counts={"val": [(9, 30), (15, 30), (0, 30), (0, 30), (0, 30)]}, classes=3)
    view = View(history=run, diagnosis=diagnose(run))
    finding = view.diagnosis.finding("LD101")
    assert (finding.epoch, finding.title) == (2, "The loss is not finite from epoch 2 on")
    assert "17 training steps had a non-finite loss, first in epoch 2" in view.diagnosis.verdict
    assert ["diverged" in words for words in statuses(view)] == [False, False, True, True, True]
    assert [(at, text) for at, text, _ in _marks(view) if text in {"diverged", "not finite"}] == [(2.0, "diverged")]


def test_what_broke_and_came_back_does_not_date_what_broke_for_good():
    run = history({"train/loss": [1.0, math.nan, 0.5, math.nan], "val/loss": [1.0, 0.9, 0.8, math.nan]})
    view = View(history=run, diagnosis=diagnose(run))
    assert view.diagnosis.finding("LD101").epoch == 3
    assert [words[:1] for words in statuses(view)][1::2] == [("not finite",), ("diverged",)]
    assert [at for at, text, _ in _marks(view) if text == "diverged"] == [3.0]


def test_a_run_that_went_on_did_not_diverge():
    run = history({"train/loss": [1.0, math.nan, 0.5, 0.4], "val/loss": [1.0, 0.9, 0.8, 0.7]})
    view = View(history=run, diagnosis=diagnose(run))
    assert not any("diverged" in words for words in statuses(view))
    assert "not finite" in statuses(view)[1]
