"""What is only worth knowing takes nothing over; steps that are small on purpose are no sickness."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lightning_diag.engine import diagnose
from lightning_diag.history import Count
from tests.build import history


def loud(run):
    return {f.code: f.severity for f in diagnose(run).findings if f.severity != "info"}


def test_batches_of_four_do_not_hide_a_learning_rate_too_high() -> None:
    losses = [2.43, 0.97, 0.69, 0.60, 0.54, 0.90, 0.60, 0.55, 0.44, 0.46, 0.83, 0.56, 0.86, 0.69, 0.99, 0.67]
    run = history(
        {
            "train/loss": losses,
            "loss/first": [2.34],
            "loss/step_max": [12.0, 1.6],
            "update/ratio": [0.995, 0.145, 0.09, 0.08],
            "param/norm": [65.9, 70.0, 74.0, 84.5],
        },
        classes=10,
        model={"batch_norm": True},
        train={"batch_size": 4},
        optim={"lr": 0.1},
    )
    diagnosis = diagnose(run)
    assert diagnosis.finding("LD705").severity == "info"
    assert diagnosis.finding("LD102").severity == "error"
    assert not diagnosis.verdict.startswith("Nothing is wrong")


def test_a_model_with_room_to_spare_does_not_explain_lost_classes() -> None:
    run = history(
        {"train/loss": [0.9, 0.75, 0.7, 0.69, 0.69, 0.69]},
        counts={"train": [(765, 980)] * 6, "val": [(225, 294)] * 6},
        rows={"val": [(210, 254, 205), (42, 20, 10), (42, 20, 10)]},
        classes=3,
        task="multiclass",
        train={"size": 980, "class_counts": (700, 140, 140)},
        model={"trainable": 5000},
    )
    diagnosis = diagnose(run)
    assert diagnosis.finding("LD204").severity == "info"
    assert diagnosis.finding("LD303").severity == "error"


def clipped(optimizer, loss, updates=None, **context):
    series = {"grad/clip_ratio": [0.08] * len(loss), "train/loss": loss}
    if updates is not None:
        series["update/ratio"] = [updates] * len(loss)
    return history(series, optim={"clip": 1.0, "optimizer": optimizer}, **context)


@pytest.mark.parametrize(
    ("run", "severity"),
    [
        (clipped("AdamW", [3.4, 3.1, 3.0, 2.92]), "info"),
        (clipped("PagedLion8bit", [3.4, 3.1, 3.0, 2.92]), "info"),
        (clipped("SGD", [3.4, 3.1, 3.0, 2.92]), "error"),
        (clipped("SGD", [3.4, 3.1, 3.0, 2.92], model={"looks_fresh": False}), "info"),
        (clipped("Adam", [2.31, 2.30, 2.30, 2.30], classes=10), "error"),
        (clipped("Adam", [2.31, 2.30, 2.30, 2.30], 0.3, classes=10), "info"),
    ],
    ids=["adamw", "lion", "sgd", "sgd on trained weights", "adam that is stuck", "adam that is stuck and moved"],
)
def test_clipping_costs_only_where_the_optimiser_does_not_undo_it(run, severity) -> None:
    assert diagnose(run).finding("LD112").severity == severity


def test_of_clipping_by_value_no_more_is_said_than_the_norms_allow() -> None:
    run = clipped("SGD", [2.31, 2.30, 2.30, 2.30], classes=10)
    run = replace(run, context=replace(run.context, optim=replace(run.context.optim, clip_algorithm="value")))
    assert "clipping left at most 8 % of the gradient norm" in diagnose(run).finding("LD112").summary


def test_clipping_that_costs_nothing_explains_nothing() -> None:
    run = history(
        {"grad/clip_ratio": [0.05] * 6, "train/loss": [1.4, 0.9, 0.5, 0.3, 0.2, 0.1], "val/loss": [1.4] * 6},
        counts={"val": [(250, 1000)] * 6},
        classes=4,
        task="multiclass",
        optim={"clip": 1.0, "optimizer": "AdamW"},
    )
    diagnosis = diagnose(run)
    assert diagnosis.finding("LD112").severity == "info"
    assert diagnosis.finding("LD202").severity == "error"


@pytest.mark.parametrize("start", [{"model": {"looks_fresh": False}}, {"resumed_epoch": 0}])
def test_trained_weights_may_rest(start) -> None:
    """Fine-tuning a regression at 1e-6: nothing recorded says how good it was when it began."""
    run = history(
        {"train/loss": [0.30, 0.298, 0.296, 0.295, 0.294, 0.293], "update/ratio": [0.002] * 6},
        task="regression",
        optim={"lr": 1e-6},
        **start,
    )
    diagnosis = diagnose(run)
    assert diagnosis.finding("LD103") is None
    assert "trained before this fit" in next(n.reason for n in diagnosis.not_checked if n.code == "LD103")


def test_new_weights_that_rest_are_told() -> None:
    series = {"train/loss": [0.30, 0.298, 0.296, 0.295, 0.294, 0.293], "update/ratio": [0.002] * 6}
    assert loud(history(series, task="regression", optim={"lr": 1e-6}))["LD103"] == "error"


def test_few_lines_without_harm_do_not_explain_a_token_that_is_never_emitted() -> None:
    rows = {"val": [(40, 38, 36), (40, 42, 37), (38, 0, 0), (41, 40, 38)]}
    diagnosis = diagnose(history({"ctc/val/ter": [0.15]}, rows=rows, task="ctc", train={"size": 30}))
    assert diagnosis.finding("LD602").severity == "info"
    assert [(f.code, f.severity) for f in diagnosis.causes] == [("LD411", "warning")]


def at_chance(first, nearest, **context):
    """200 samples of ten classes, learned by heart; validation is at chance."""
    return history(
        {"train/loss": [2.31, 1.9, 0.9, 0.3, 0.05], "update/ratio": [0.1] * 5},
        counts={"train": [(first, 200), (60, 200), (150, 200), (190, 200), (200, 200)], "val": [(12, 100)] * 5},
        classes=10,
        train={"size": 200, "nearest_same": Count(k=nearest, n=200)},
        **context,
    )


def causes_of_chance(run):
    return [e.text for e in diagnose(run).finding("LD202").against]


def test_labels_that_may_be_shuffled_are_suspected_before_weights_that_nobody_loaded() -> None:
    causes = causes_of_chance(at_chance(first=22, nearest=19, model={"looks_fresh": True}))
    assert causes[0].startswith(
        "not verified: whether training labels belong to their inputs (the first time each sample"
    )
    assert "22/200 = 11 % were right" in causes[0]
    assert "same label for 19/200 = 9.5 %" in causes[0]
    assert "whether pretrained weights were meant to be there (none were named" in causes[-1]


@pytest.mark.parametrize(("first", "nearest"), [(22, 150), (70, 19)])
def test_labels_that_fit_new_samples_are_left_out_and_those_of_validation_come_first(first, nearest) -> None:
    causes = causes_of_chance(at_chance(first=first, nearest=nearest, model={"looks_fresh": True}))
    assert not any("training labels belong" in cause for cause in causes)
    assert "(those of training fit their inputs)" in causes[0]


def test_a_first_epoch_that_moved_nothing_says_nothing_of_labels() -> None:
    run = at_chance(first=22, nearest=19)
    still = replace(run.epochs[0], values={**run.epochs[0].values, "update/ratio": 1e-4})
    causes = causes_of_chance(replace(run, epochs=(still, *run.epochs[1:])))
    assert "whether training labels belong to their inputs (the nearest other sample" in causes[0]


def test_updates_beside_weights_of_zero_are_large_at_any_learning_rate() -> None:
    run = history(
        {"train/loss": [2.31, 2.31, 2.31], "update/ratio": [0.99, 0.3, 0.2], "param/norm": [0.1, 0.12, 0.13]},
        counts={"train": [(100, 1000)] * 3},
        classes=10,
        model={"constant_init": 1.0},
    )
    found = diagnose(run)
    assert loud(run) == {"LD114": "error"}
    assert found.finding("LD102").explained_by == "LD114"


@pytest.mark.parametrize(("size", "said"), [(650, True), (50_000, False)])
def test_layers_that_were_never_registered_may_be_what_is_missing(size, said) -> None:
    """Two hidden layers in a plain list: the head alone is trained. Where parameters abound, that is no reason."""
    run = history(
        {"train/loss": [2.1, 1.5, 1.2, 1.1, 1.0, 0.98, 0.97, 0.97, 0.96, 0.96]},
        counts={"train": [(600 + 10 * i, 1000) for i in range(10)], "val": [(180 + 3 * i, 300) for i in range(10)]},
        classes=10,
        train={"size": 1000},
        model={"trainable": size},
    )
    found = diagnose(run).finding("LD204")
    assert any("650 trainable parameters are registered" in action for action in found.actions) is said
