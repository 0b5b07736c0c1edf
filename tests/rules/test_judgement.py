"""Small numbers, resumes and names: where a rule must not take the lack of proof for proof."""

from __future__ import annotations

import math

import pytest

from lightning_diag.engine import diagnose
from lightning_diag.history import Baseline, Count, EpochRecord, PretrainFacts, RunHistory
from lightning_diag.rules import reading
from lightning_diag.rules.broken_losses import broken_loss, diverged_from
from lightning_diag.rules.metric_covers_part_of_validation import MetricCoversPartOfValidation
from tests.build import history


def codes(run, loud=True):
    return [f.code for f in diagnose(run).findings if not loud or f.severity != "info"]


def test_few_validation_samples_are_not_called_chance() -> None:
    series = {"train/loss": [1.4, 0.5, 0.1], "val/loss": [1.3, 0.9, 0.7]}
    counts = {"train": [(400, 900), (800, 900), (890, 900)], "val": [(5, 10), (7, 10), (8, 10)]}
    diagnosis = diagnose(history(series, counts=counts, classes=2, task="multiclass"))
    assert diagnosis.finding("LD202") is None
    assert "too few samples" in next(n.reason for n in diagnosis.not_checked if n.code == "LD202")


def test_a_probe_of_few_samples_does_not_make_a_run_stuck() -> None:
    """44 of 64 is not established after 20 looks, and 89 % of the validation set is."""
    run = history(
        {"train/loss": [0.68] * 20},
        counts={"probe": [(44, 64)] * 20, "val": [(357, 400)] * 20},
        classes=2,
        train={"class_counts": (765, 735)},
    )
    assert reading.learned(run, "probe") is False
    assert reading.stuck(run) is False
    assert "LD115" not in codes(run)


def test_a_rare_class_told_apart_is_learning() -> None:
    run = history(
        {"train/loss": [0.3, 0.2]},
        counts={"val": [(383, 400), None]},
        rows={"val": [(383, 390, 380), (17, 10, 7)]},
        classes=2,
    )
    assert reading.above_trivial(run, "val") > 0.1
    assert reading.learned(run, "val") is True


def test_pixels_are_judged_by_effect() -> None:
    """102,400 pixels make any difference significant; 88 % where the background is 87 % is nothing learned."""
    facts = {"train": {"class_counts": (8700, 1300)}, "val": {"class_counts": (8700, 1300)}}
    same = history(counts={"train": [(90_000, 102_400)], "val": [(90_000, 102_400)]}, task="dense", classes=2, **facts)
    assert reading.learned(same, "val") is False
    better = history(
        counts={"train": [(98_000, 102_400)], "val": [(97_000, 102_400)]}, task="dense", classes=2, **facts
    )
    assert reading.learned(better, "val") is True


def test_regression_says_nothing_of_accuracy() -> None:
    run = history({"train/loss": [1.0, 0.5, 0.2, 0.1], "val/loss": [1.0, 0.6, 0.8, 1.0]}, task="regression")
    diagnosis = diagnose(run)
    assert not diagnosis.crashed
    assert "LD201" in [f.code for f in diagnosis.findings]


def test_what_is_left_limits_what_more_epochs_can_gain() -> None:
    steep = [1.1, 0.9, 0.7, 0.55, 0.45, 0.37]
    assert "LD205" in codes(history({"val/loss": steep}, classes=3))
    nearly = [0.45, 0.36, 0.29, 0.235, 0.20, 0.166, 0.137]
    assert "LD205" not in codes(history({"val/loss": nearly}, classes=3))
    assert "LD205" in codes(history({"val/loss": nearly}, classes=3), loud=False)


def test_the_old_learning_rate_is_named_after_a_resume() -> None:
    run = history(
        {"train/loss": [0.5, 0.4, 1.5]},
        counts={"val": [(20, 29), (21, 29), (5, 29)]},
        lrs=[1e-4, 1e-4, 5e-3],
        resumed_epoch=2,
        baseline=Baseline(source="restored history", epoch=1, correct=Count(k=21, n=29)),
        optim={"lr": 1e-3},
        classes=4,
    )
    found = diagnose(run).finding("LD503")
    assert found is not None
    assert any("0.005, 0.0001 before the resume" in fact.text for fact in found.evidence)
    assert any("the old learning rate (0.0001, not 0.005)" in action for action in found.actions)


def resumed(first, **context):
    """21 of 29, and 5 of 29 in the epoch after the resume, whose first step had the loss ``first``."""
    return history(
        {"train/loss": [0.5, 0.4, 1.5], "loss/step_max": [0.9, 0.6, 4.0], "loss/first": [1.4, None, first]},
        counts={"val": [(20, 29), (21, 29), (5, 29)]},
        lrs=[1e-4, 1e-4, 5e-3],
        resumed_epoch=2,
        baseline=Baseline(source="restored history", epoch=1, correct=Count(k=21, n=29)),
        optim={"lr": 1e-4},
        classes=4,
        **context,
    )


def test_what_a_resume_restored_is_not_held_possible_and_not_advised() -> None:
    found = diagnose(resumed(0.45, resumed_from="last.ckpt")).finding("LD503")
    assert [fact.text for fact in found.against] == ["not excluded: changed preprocessing of validation alone"]
    facts = " ".join(fact.text for fact in found.evidence)
    assert "weights, optimiser and schedule were restored by fit(ckpt_path=...)" in facts
    assert (
        "had a loss of 0.45, against at most 0.6 in a step of epoch 1: weights and training inputs were those" in facts
    )
    assert not any("ckpt_path" in action for action in found.actions)
    assert "it came back as 0.0001 and was 0.005 in epoch 2" in found.actions[0]
    assert found.next_test.endswith(
        "21/29 again means that the updates did it, about 5/29 that the preprocessing of validation changed"
    )


def test_a_first_step_that_is_worse_already_is_told() -> None:
    found = diagnose(resumed(1.3, resumed_from="last.ckpt")).finding("LD503")
    assert any("weights or inputs may have changed before any update" in fact.text for fact in found.evidence)
    assert any("a head that was re-initialised" in fact.text for fact in found.against)
    unknown = diagnose(resumed(None)).finding("LD503")
    assert len(unknown.against) == 4, "optimiser, head, preprocessing, weights"
    assert "ckpt_path" in unknown.actions[0]


def test_units_that_recover_at_the_very_end_do_not_break_the_rule() -> None:
    run = history({"relu/dead_share": [0.95, 0.95, 0.95, 0.5], "train/loss": [1.0, 1.0, 1.0, 1.0]})
    diagnosis = diagnose(run)
    assert not diagnosis.crashed
    assert diagnosis.finding("LD113").epoch == 3


@pytest.mark.parametrize(
    ("name", "compared"),
    [
        ("val_acc", True), ("valAccuracy", True), ("acc/val", True), ("validation/top1_acc", True), ("eval_accuracy", True),
        ("val_top5_acc", False), ("val_balanced_acc", False), ("val_acc_class_3", False), ("train_acc", False),
        ("val_acc/dataloader_idx_1", False), ("val_loss", False),
    ],
)  # fmt: skip
def test_logged_accuracies_are_known_by_their_words(name: str, compared: bool) -> None:
    run = history({f"logged/{name}": [0.5, 0.5, 0.5]}, counts={"val": [(300, 400)] * 3}, classes=4)
    diagnosis = diagnose(run, rules=[MetricCoversPartOfValidation()])
    assert bool(diagnosis.findings) is compared


@pytest.mark.parametrize(("nearest", "severity"), [(Count(k=480, n=500), "warning"), (Count(k=340, n=500), "info")])
def test_underfitting_is_held_against_the_nearest_neighbour(nearest: Count, severity: str) -> None:
    run = history(
        {"train/loss": [0.69, 0.55, 0.51, 0.50, 0.50, 0.50, 0.50, 0.50]},
        counts={"train": [(2371, 3000)] * 8, "val": [(790, 1000)] * 8},
        classes=2,
        train={"size": 3000, "nearest_same": nearest},
        model={"trainable": 1800},
    )
    assert diagnose(run).finding("LD204").severity == severity


def memorised(
    loss=(1.07, 0.98, 0.94, 0.926, 0.95, 1.0, 1.1, 1.2, 1.3, 1.41),
    correct=(14, 14, 15, 16, 17, 18, 17, 17, 18, 18),
    **context,
):
    """Three classes, 29 validation samples, the largest class 11 of them; the training set is memorised."""
    return history(
        {"train/loss": [1.08, 0.7, 0.5, 0.38, 0.2, 0.1, 0.05, 0.02, 0.01, 0.006], "val/loss": list(loss)},
        counts={"train": [(26 + 3 * i, 60) for i in range(9)] + [(60, 60)], "val": [(k, 29) for k in correct]},
        **context,
    )


def test_the_number_of_classes_sharpens_a_verdict_and_does_not_turn_it() -> None:
    without = diagnose(memorised())
    known = diagnose(memorised(classes=3, task="multiclass", val={"class_counts": (9, 9, 11)}))
    assert [d.finding("LD201").claim for d in (without, known)] == ["likely", "likely"]
    assert "the number of classes is not known" in without.finding("LD201").against[-1].text
    doubted = known.finding("LD201").against[-1].text
    assert "18/29 = 62 % at best against 38 %, the share of the most frequent validation class" in doubted
    assert "validation accuracy did not fall with it" in known.verdict
    assert known.finding("LD201").title == "Overfitting since epoch 3, by the loss"


def test_a_rise_is_told_where_few_samples_leave_open_whether_anything_was_learned() -> None:
    """The loss never came below the trivial one, and 16 of 29 at best are no proof; they do not exclude it either."""
    run = memorised(
        loss=(1.10, 1.09, 1.09, 1.10, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7),
        correct=(12, 13, 14, 14, 15, 16, 15, 16, 15, 16),
        classes=3,
    )
    diagnosis = diagnose(run)
    assert diagnosis.finding("LD201") is None
    assert diagnosis.finding("LD207") is None
    reasons = {o.code: o.reason for o in diagnosis.not_checked}
    assert reasons["LD201"] == reasons["LD207"]
    assert "the validation loss rises, and whether validation ever learned anything is open: 16/29" in reasons["LD201"]


def test_a_rise_that_is_not_overfitting_says_why() -> None:
    run = history(
        {"train/loss": [1.0, 0.7, 0.5, 0.3, 0.2], "val/loss": [1.0, 0.8, 0.85, 0.95, 1.05]},
        counts={"train": [(600, 1000)] * 4 + [(860, 1000)], "val": [(k, 400) for k in (288, 300, 308, 316, 330)]},
        classes=4,
    )
    text = next(c.text for c in diagnose(run).clear if c.code == "LD201")
    assert text.startswith("validation loss +31 % since epoch 1, but validation accuracy got better (300/400")


def test_a_reader_is_judged_by_token_errors_and_not_by_an_accuracy() -> None:
    run = history(
        {
            "train/loss": [4.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05],
            "val/loss": [2.7, 2.5, 2.4, 2.6, 2.8, 3.0, 3.1],
            "ctc/train/ter": [0.9, 0.6, 0.3, 0.1, 0.0, 0.0, 0.0],
            "ctc/val/ter": [0.99, 0.85, 0.75, 0.72, 0.7, 0.7, 0.7],
            "ctc/val/loss_ratio": [1.0, 0.9, 0.8, 0.8, 0.9, 0.9, 1.0],
        },
        counts={"train": [(0, 2)] * 4 + [(2, 2)] * 3, "val": [(0, 150)] * 3 + [(2, 150)] * 4},
        task="ctc",
        monitor="ctc/val/ter",
        monitor_mode="min",
    )
    found = diagnose(run).finding("LD201")
    texts = " ".join((found.summary, *(fact.text for fact in (*found.evidence, *found.against)), *found.actions))
    assert "accuracy" not in texts
    assert "token error rate 0 % on training, 70 % on validation" in found.summary
    assert "validation token error rate did not rise with it (75 % → 70 %)" in texts


@pytest.mark.parametrize(("idle", "severity"), [(None, "error"), (0.0, "error"), (0.2, "error"), (0.5, "info")])
def test_parameters_that_nothing_trains_are_an_error_only_where_they_get_gradients(idle, severity) -> None:
    model = {"trainable_not_in_optimizer": 0.5, "missing_without_grad": idle, "missing_blocks": ("target_q",)}
    found = diagnose(history({"train/loss": [1.0, 0.6]}, model=model)).finding("LD109")
    assert found.severity == severity
    assert bool(found.explains) is (severity == "error")


def test_a_bump_on_the_way_is_not_called_a_gain() -> None:
    """1.0 → 1.04 → 0.90 is a mean fall over two evaluations, not a fall in each."""
    found = diagnose(history({"val/loss": [2.3, 1.6, 1.0, 1.04, 0.90]}, classes=10)).finding("LD205")
    assert "at least 0.05 per evaluation (mean of the last one, two or three), 2.2 % of the 2.3 that" in found.summary


def test_no_line_above_is_spoken_of_where_no_line_would_load_the_weights() -> None:
    for fix, how in (("model.load(x)", "load with the line above"), (None, "mend the load")):
        facts = PretrainFacts(verdict="not loaded", checkpoint="stage1.pt", parameters=5000, equal=0.0, fix=fix)
        assert diagnose(history(pretrain=facts)).finding("LD501").next_test.startswith(how)


def at_first_sight(train, values, **context):
    """Memorised training samples, validation at chance, and a first epoch that was at chance too."""
    counts = {"train": train, "val": [(205, 400), (208, 400), (210, 400), (206, 400), (207, 400), (209, 400)]}
    return diagnose(history(values, counts=counts, classes=2, task="binary", **context))


def test_a_first_epoch_that_could_show_nothing_does_not_make_labels_random() -> None:
    moved = {"update/ratio": [0.08] * 6}
    few = at_first_sight([(33, 60), (40, 60), (50, 60), (57, 60), (60, 60), (60, 60)], moved)
    many = [(501, 1000), (560, 1000), (700, 1000), (850, 1000), (950, 1000), (980, 1000)]
    still = at_first_sight(many, {"update/ratio": [0.001, *[0.08] * 5]})
    short = at_first_sight(many, {"train/loss": [0.7] * 6}, steps=8)
    open_ = at_first_sight([(70, 130), (72, 130), (75, 130), (80, 130), (95, 130), (100, 130)], moved)
    for run, reason in (
        (few, "30 new samples per class"),
        (still, "hardly moved"),
        (short, "hardly moved"),
        (open_, "rule out"),
    ):
        assert run.finding("LD607") is None
        assert reason in next(n.reason for n in run.not_checked if n.code == "LD607")
    assert at_first_sight(many, moved).finding("LD607") is not None
    assert at_first_sight(many, {"train/loss": [0.7] * 6}, steps=150).finding("LD607") is not None


@pytest.mark.parametrize(
    ("fresh", "start"),
    [
        (True, "look as an initialiser leaves them"),
        (False, "do not look as an initialiser"),
        (None, "weights that are not those of the checkpoint"),
    ],
)
def test_weights_that_did_not_arrive_say_what_is_known_of_the_start(fresh, start):
    facts = PretrainFacts(
        verdict="not loaded", checkpoint="a.pt", module="encoder", equal=0.0, parameters=9, cosine=0.0
    )
    ended = {"stop": {"status": "exception", "error": "WeightsNotLoadedError: no"}}
    going, stopped = (
        diagnose(history({"val/loss": [1.0]}, pretrain=facts, model={"looks_fresh": fresh}, **more)).finding("LD501")
        for more in ({}, ended)
    )
    assert start in going.why
    assert going.why.startswith("The run trains from")
    assert "random" not in going.why + stopped.why
    assert start in stopped.why
    assert stopped.why.startswith("The run was stopped for it; it would have trained from")
    assert [len(found.actions) for found in (going, stopped)] == [3, 2], (
        "a run that was stopped has learned nothing to repeat"
    )


def test_a_stop_by_the_verifier_is_for_the_weights_and_another_one_is_not():
    facts = PretrainFacts(verdict="not loaded", checkpoint="a.pt", module="encoder", equal=0.0, parameters=9)
    for stopper, begin in (("PretrainLoadVerifier", "The run was stopped for it"), ("EarlyStopping", "The run trains")):
        run = history({"val/loss": [1.0]}, pretrain=facts, stop={"status": "stopped", "stopper": stopper})
        assert diagnose(run).finding("LD501").why.startswith(begin)


def test_a_validation_loss_that_came_back_is_no_divergence_without_a_training_loss():
    rows = [{"val/loss": math.nan}, {"val/loss": 1.0}, {}]
    run = RunHistory(epochs=tuple(EpochRecord(epoch=i, step=i, values=values) for i, values in enumerate(rows)))
    found = broken_loss(run, 0)
    assert (found.fate, found.proof) == ("validation", "the validation loss of epoch 1 is finite")
    assert diverged_from(run) is None


def test_steps_that_are_tolerated_date_no_divergence():
    rows = [{"train/loss": math.nan}, {"train/loss": 1.0, "loss/nonfinite_steps": 1.0}]
    run = RunHistory(epochs=tuple(EpochRecord(epoch=i, step=i, values=values) for i, values in enumerate(rows)))
    assert broken_loss(run, 2).epoch == 0
