"""The CTC rules on records like those of measured runs: which cause is named, and who explains whom."""

from __future__ import annotations

import math

import pytest

from lightning_diag.engine import diagnose
from lightning_diag.history import Count, CTCFacts, MappingTest, StopFacts
from lightning_diag.rules import RULES
from lightning_diag.rules.ctc_common import looks, moving, on_blank_plateau, tail
from tests.build import history

CTC = [rule() for rule in RULES if rule.code.startswith("LD4")]


def said(run):
    diagnosis = diagnose(run, rules=CTC)
    assert not diagnosis.crashed
    return {f.code: f for f in diagnosis.findings}


def flat(ratio, *, status="running", **more):
    """Six evaluations of 60 steps that rest at one loss over trivial loss and emit nothing."""
    columns = {
        "ctc/train/loss_ratio": [ratio * (1 + 0.001 * (-1) ** i) for i in range(6)],
        "ctc/train/loss_fall_50": [0.001] * 6,
        "ctc/val/emit_ratio": [0.0] * 6,
        "ctc/val/loss_ratio": [ratio * (1 + 0.002 * (-1) ** i) for i in range(6)],
        **more.pop("series", {}),
    }
    return history(columns, steps=60, task="ctc", stop=StopFacts(status=status), **more)


@pytest.mark.parametrize(
    ("ratio", "title"),
    [(1.37, "worse than ignoring the input"), (1.04, "does not depend on the input"), (0.9, "stopped learning")],
)
def test_blank_collapse_names_its_cause(ratio, title):
    found = said(flat(ratio))
    assert title in found["LD401"].title
    assert "LD412" not in found


def test_warm_up_until_the_run_ends_in_it():
    falling = {"ctc/train/loss_fall_50": [0.12] * 6}
    assert set(said(flat(0.98, series=falling))) == {"LD412"}
    ended = said(flat(0.98, series=falling, status="finished"))
    assert "ended in the warm-up" in ended["LD401"].title
    assert ended["LD401"].severity == "warning"


def test_creeping_below_the_trivial_loss_is_no_collapse():
    creeping = {"ctc/val/loss_ratio": [1.006, 1.003, 1.001, 0.999, 0.996, 0.99]}
    assert set(said(flat(0.995, series=creeping))) == {"LD412"}
    assert not moving(looks(flat(0.995)))


def test_one_flat_evaluation_is_not_enough():
    assert set(said(flat(1.0, series={"ctc/train/loss_fall_50": [0.1] * 5 + [0.001]}))) == {"LD412"}


def test_mixed_axes_are_named_at_the_first_evaluation():
    mixed = CTCFacts(blank=0, checks=(("axes-mixed", "Neighbours differ. Do: transpose."),))
    run = history({"ctc/val/emit_ratio": [0.0], "ctc/train/loss_ratio": [3.0]}, steps=20, task="ctc", ctc=mixed)
    assert "axes" in said(run)["LD401"].title


def test_blank_in_targets_is_no_collapse():
    clash = CTCFacts(blank=0, blank_in_targets=Count(k=10, n=100), infeasible=Count(k=0, n=20))
    found = said(flat(1.0, ctc=clash))
    assert "LD401" not in found
    assert found["LD402"].severity == "error"


def test_wrong_lengths_explain_the_lines_without_a_path():
    facts = CTCFacts(
        blank=0,
        infeasible=Count(k=20, n=100),
        zero_infinity=True,
        checks=(("lengths-wrong", "input_lengths is 50 %. Do: divide by 2."), ("infeasible", "20 lines. Do: less.")),
    )
    found = said(flat(0.9, ctc=facts))
    assert found["LD405"].explained_by is None
    assert found["LD403"].explained_by == "LD405"
    assert found["LD401"].explained_by in {"LD403", "LD405"}


@pytest.mark.parametrize(
    ("hidden", "k", "severity"), [(False, 1, "error"), (True, 60, "error"), (True, 10, "warning"), (True, 2, "info")]
)
def test_lines_without_a_path_cost_what_they_cost(hidden, k, severity):
    run = history(
        {"ctc/val/emit_ratio": [1.0]}, task="ctc", ctc=CTCFacts(infeasible=Count(k=k, n=1000), zero_infinity=hidden)
    )
    assert said(run)["LD403"].severity == severity


def test_lines_without_a_path_in_validation_alone():
    run = history(
        {"ctc/val/infeasible_share": [0.1]}, task="ctc", ctc=CTCFacts(infeasible=Count(k=0, n=100), zero_infinity=True)
    )
    assert said(run)["LD403"].severity == "warning"


def test_memorised_and_renumbered_exclude_each_other():
    columns = {
        "ctc/train/loss_ratio": [0.9, 0.1, 0.02],
        "ctc/val/loss_ratio": [1.1, 3.2, 3.5],
        "ctc/val/ter": [1.0, 0.95, 0.95],
        "ctc/val/sub": [0.1, 0.9, 0.9],
        "ctc/val/del": [0.9, 0.03, 0.03],
        "ctc/val/ins": [0.0, 0.02, 0.02],
        "ctc/val/emit_ratio": [0.1, 1.0, 1.0],
    }
    chance = MappingTest(before=0.95, after=0.9, chance=0.96, p_value=0.04, lines=96)
    mended = MappingTest(before=0.95, after=0.6, chance=0.96, p_value=0.005, lines=96)
    confused = MappingTest(before=0.8, after=0.6, chance=0.96, p_value=0.005, lines=96)
    slight = MappingTest(before=0.90, after=0.83, chance=0.88, p_value=0.005, lines=96)
    said_of = ((mended, "LD408"), (chance, "LD407"), (confused, "LD407"), (slight, "LD407"), (None, "LD408"))
    for mapping, expected in said_of:
        run = history(columns, steps=100, task="ctc", ctc=CTCFacts(blank=0, mapping=mapping))
        assert set(said(run)) == {expected}
    assert said(history(columns, steps=100, task="ctc"))["LD408"].confidence < 0.7


def test_raw_scores_that_train_are_a_warning():
    checks = (("raw-scores", "Raw scores. Do: log_softmax(-1)."),)
    learnt = history({"ctc/val/ter": [0.04]}, task="ctc", ctc=CTCFacts(blank=0, checks=checks))
    failed = history({"ctc/val/ter": [1.0]}, task="ctc", ctc=CTCFacts(blank=0, checks=checks))
    assert (said(learnt)["LD404"].severity, said(failed)["LD404"].severity) == ("warning", "error")


def test_not_a_number_is_no_warm_up():
    broken = {"ctc/train/nonfinite_losses": [25.0] * 6, "ctc/train/loss_ratio": [math.nan] * 6}
    assert "LD412" not in said(flat(1.0, series=broken))


def test_healthy_is_quiet():
    run = history(
        {
            "ctc/train/loss_ratio": [1.4, 0.9, 0.3, 0.05, 0.01],
            "ctc/val/loss_ratio": [1.3, 0.8, 0.2, 0.07, 0.05],
            "ctc/val/emit_ratio": [0.0, 0.3, 0.97, 1.0, 1.0],
            "ctc/val/ter": [1.0, 0.7, 0.1, 0.05, 0.04],
            "ctc/val/nonblank_per_token": [0.0, 0.5, 1.4, 1.4, 1.4],
            "ctc/val/distinct_tokens": [0, 9, 10, 10, 10],
            "ctc/val/reference_tokens": [10] * 5,
        },
        steps=60,
        task="ctc",
        ctc=CTCFacts(
            blank=0,
            infeasible=Count(k=0, n=600),
            blank_in_targets=Count(k=0, n=3000),
            mapping=MappingTest(before=0.04, after=0.04, chance=None, p_value=1.0, lines=96),
        ),
    )
    assert said(run) == {}


def test_other_tasks_are_left_alone():
    run = history({"val/loss": [1.0, 0.5]}, counts={"val": [(1, 10), (5, 10)]}, task="multiclass")
    diagnosis = diagnose(run, rules=CTC)
    assert (diagnosis.findings, diagnosis.clear, diagnosis.not_checked) == ((), (), ())


def test_plateau_holds_a_stopping_criterion():
    assert "all-blank plateau" in on_blank_plateau({"ctc/val/emit_ratio": 0.01, "ctc/val/blank_share": 0.99})
    assert "0.01" in on_blank_plateau({"ctc/train/emit_ratio": 0.01})
    assert on_blank_plateau({"ctc/val/emit_ratio": 0.9}) is None
    assert on_blank_plateau({"ctc/val/emit_ratio": math.nan}) is None
    assert on_blank_plateau({"val/loss": 1.0}) is None


def test_tail_is_the_last_run_of_evaluations():
    every = looks(history({"ctc/val/ter": [0.1, 0.9, 0.1, 0.9, 0.9]}))
    assert [look.epoch for look in tail(every, lambda look, _: look.val("ter") > 0.5)] == [3, 4]
    assert tail(every, lambda look, _: False) == []


def test_a_line_is_a_sample_of_each_of_its_tokens():
    columns = {"ctc/train/tokens_per_line": [9.0] * 3, "ctc/val/ter": [0.3] * 3}
    run = history(columns, rows={"val": [(20, 20, 14)] * 26}, task="ctc", train={"size": 400})
    assert 400 / 26 < 30 < 9 * 400 / 26
    diagnosis = diagnose(run, rules=[rule() for rule in RULES if rule.code == "LD602"])
    assert not diagnosis.findings


def test_an_input_of_zeros_is_no_vanishing_gradient():
    """The first layer's weights have no gradient because there is nothing to multiply it with."""
    run = flat(1.02, series={"grad/first_last_ratio": [0.0] * 6, "train/loss": [3.3] * 6})
    codes = [finding.code for finding in diagnose(run).causes]
    assert "LD107" not in codes
    assert "LD401" in codes


def test_wrong_lengths_explain_an_overfitting_that_they_cause():
    checks = (("lengths-wrong", "Half of the frames. Do: frames // 2."),)
    losses = {"train/loss": [3.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05], "val/loss": [3.0, 2.2, 1.6, 1.7, 2.0, 2.6, 3.0]}
    run = history(losses, steps=100, task="ctc", ctc=CTCFacts(blank=0, checks=checks))
    assert diagnose(run).causes[0].code == "LD405"


def test_whole_lines_have_no_most_frequent_class():
    columns = {"train/loss": [3.4] * 6, "ctc/train/loss_ratio": [1.0] * 6}
    lines = history(columns, counts={"train": [(0, 60)] * 6, "val": [(0, 30)] * 6}, classes=30, task="ctc")
    found = {f.code: f for f in diagnose(lines).findings}
    assert "LD115" in found, found.keys()
    assert "most frequent class" not in found["LD115"].summary
    assert "ignores the input" not in found["LD115"].summary
    falling = history(
        {**columns, "train/loss": [3.4, 3.2, 3.04]}, counts={"train": [(0, 60)] * 3}, classes=30, task="ctc"
    )
    assert "LD115" not in {f.code for f in diagnose(falling).findings}


def test_lines_that_never_generalised_are_judged_by_their_tokens():
    columns = {"train/loss": [3.4, 2.0, 1.0], "ctc/train/ter": [0.9, 0.5, 0.2], "ctc/val/ter": [1.0, 0.97, 0.98]}
    lines = history(columns, counts={"val": [(2, 24), (1, 24), (0, 24)]}, classes=5, task="ctc")
    found = {f.code: f for f in diagnose(lines).findings}["LD202"]
    assert "token error rate of 98 %, 97 % at best" in found.summary
    assert not any("frequent" in evidence.text or "= ln" in evidence.text for evidence in found.evidence)
    assert found.claim == "established"


def test_what_is_seen_in_the_warm_up_needs_no_action():
    falling = {"ctc/train/loss_fall_50": [0.12] * 6, "train/loss": [30.0, 29.0, 28.9, 28.8, 28.8, 28.7]}
    diagnosis = diagnose(flat(0.98, series=falling))
    assert {f.code: f.severity for f in diagnosis.findings}["LD115"] == "info"
    assert not diagnosis.causes


@pytest.mark.parametrize(("ratio", "found"), [(0.4, True), (0.05, False)])
def test_lines_that_the_loss_does_not_teach_are_no_underfitting(ratio, found):
    """A loss that left nothing of the trivial one was fitted; the lines that are wrong all the same were never taught."""
    run = history(
        {
            "train/loss": [2.6, *[2.6 * ratio] * 9],
            "ctc/train/loss_ratio": [1.0, *[ratio] * 9],
            "ctc/train/ter": [1.0, *[0.4] * 9],
        },
        counts={"train": [(30 * min(i, 2), 240) for i in range(10)]},
        task="ctc",
        stop=StopFacts(status="finished"),
    )
    assert (diagnose(run).finding("LD204") is not None) is found


@pytest.mark.parametrize(
    ("taught", "lines", "severity"), [(6.0, 56, "error"), (8.0, 56, "warning"), (6.0, 5, "warning")]
)
def test_tokens_that_training_never_showed_are_the_cause(taught, lines, severity) -> None:
    """Five lines are too few to have met the rarest token."""
    series = {"ctc/val/ter": [0.25], "ctc/train/reference_tokens": [taught], "ctc/train/tokens_per_line": [3.4]}
    rows = {"val": [*[(75, 85, 75)] * 6, (93, 0, 0), (52, 0, 0)]}
    found = diagnose(history(series, rows=rows, counts={"train": [(lines, lines)]}, task="ctc")).finding("LD411")
    assert found.severity == severity
    assert ("LD201" in found.explains) is (severity == "error")
    assert ("which training does not show" in found.summary) is (severity == "error")
