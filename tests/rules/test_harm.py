"""Warnings that ask for harm, or for more than a handful of samples, before they speak."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from lightning_diag.engine import diagnose
from lightning_diag.history import Baseline
from lightning_diag.rules.batch_norm_small_batch import BatchNormSmallBatch
from lightning_diag.rules.drop_after_resume import DropAfterResume
from lightning_diag.rules.learning_rate_decayed_too_fast import LearningRateDecayedTooFast
from lightning_diag.rules.not_learning import NotLearning
from lightning_diag.rules.pretrained_input_mismatch import PretrainedInputMismatch
from lightning_diag.signals.setup_facts import model_facts
from tests.build import history


def test_the_first_batch_of_a_healthy_fine_tuning_is_no_mismatch() -> None:
    """64 independent channels, and 64 that all say the same: batches of the very population that was remembered."""
    rng = np.random.default_rng(0)
    for channels in (64, 1):
        alarms = 0
        for batch in rng.choice([2, 4, 8, 16, 32], 400):
            x = rng.standard_normal((batch, channels))
            model = {
                "norm_shift": float(np.abs(x.mean(0)).mean()),
                "norm_scale": float(np.median(x.std(0, ddof=1))),
            }
            run = history({"train/loss": [1.0]}, model=model, train={"batch_size": int(batch)})
            alarms += PretrainedInputMismatch().check(run) is not None
        assert alarms <= 8, "1 in 100, and twice that by chance"


@pytest.mark.parametrize(("shift", "severity"), [(2.0, "warning"), (30.0, "error")])
def test_inputs_far_off_show_in_two_samples(shift, severity) -> None:
    run = history({"train/loss": [1.0]}, model={"norm_shift": shift}, train={"batch_size": 2})
    assert PretrainedInputMismatch().check(run).severity == severity


def small_batch(probe, **context):
    columns = {"train/loss": [1.2, 0.6, 0.32, 0.31], "probe/train_loss": probe}
    return BatchNormSmallBatch().check(history(columns, model={"batch_norm": True}, train={"batch_size": 2}, **context))


def test_batch_statistics_that_do_no_harm_are_worth_knowing() -> None:
    found = small_batch([1.1, 0.5, 0.31, 0.30])
    assert (found.severity, found.explains) == ("info", ())
    assert "about the same" in found.evidence[1].text
    assert small_batch([0.7, 0.1, 0.05, 0.04]).severity == "warning"
    assert small_batch([1.5, 1.4, 1.2, 1.1]).severity == "warning"
    assert small_batch([]).severity == "warning", "nothing says that it does no harm"


@pytest.mark.parametrize(("devices", "severity"), [(1, "warning"), (2, "info"), (8, None)])
def test_synchronised_statistics_count_all_devices(devices, severity) -> None:
    model = {"batch_norm": True, "sync_batch_norm": True}
    run = history({"train/loss": [1.0]}, model=model, train={"batch_size": 2}, devices=devices)
    found = BatchNormSmallBatch().check(run)
    assert (found and found.severity) == severity


def test_synchronised_layers_are_known() -> None:
    assert model_facts(nn.Sequential(nn.SyncBatchNorm(4))).sync_batch_norm is True
    assert model_facts(nn.Sequential(nn.SyncBatchNorm(4), nn.BatchNorm1d(4))).sync_batch_norm is False
    assert model_facts(nn.Linear(4, 4)).sync_batch_norm is None


def test_a_drop_of_losses_alone_is_likely() -> None:
    """No test was made of the two numbers; and each is given under the signal that it is of."""
    baseline = Baseline(source="given", epoch=4, loss=0.4)
    found = DropAfterResume().check(history({"val/loss": [0.9]}, epochs=[5], baseline=baseline))
    assert (found.claim, found.evidence[0].signal) == ("likely", "val/loss")
    columns = {"train/loss": [1.23, 0.89], "loss/first": [0.149]}
    found = DropAfterResume().check(history(columns, epochs=[5, 6], resumed_epoch=5, classes=10))
    assert (found.claim, found.evidence[0].signal) == ("likely", "train/loss")


def test_nothing_learned_is_established_by_counts_and_likely_by_a_loss() -> None:
    """Label smoothing or an auxiliary term keeps the loss of a model that has learned above the trivial one."""
    series = {"train/loss": [2.31, 2.303, 2.303]}
    found = NotLearning().check(history(series, classes=10))
    assert found.claim == "likely"
    assert "auxiliary" in found.against[0].text
    assert NotLearning().check(history(series, counts={"train": [(100, 1000)] * 3}, classes=10)).claim == "established"


def decayed(losses, lrs):
    return LearningRateDecayedTooFast().check(history({"train/loss": losses}, lrs=lrs, classes=10))


def test_a_stepwise_schedule_on_a_noisy_task_is_not_too_fast() -> None:
    """Ten times less every 20 of 100 epochs; 35 % of the trivial loss is noise that nobody can fit."""
    lrs = [0.1 * 0.1 ** (e // 20) for e in range(100)]
    course = [0.8 + 1.5 * 0.8**e for e in range(20)] + [0.8] * 80
    assert decayed(course, lrs) is None
    falling = [2.3 - 0.03 * min(e, 40) for e in range(100)]
    assert decayed(falling, lrs) is not None, "it was still falling when the rate went"


def test_a_schedule_that_is_gone_at_once_leaves_no_time_to_be_level() -> None:
    assert decayed([2.2, 2.19, 2.19, 2.19, 2.19, 2.19], [1e-3, 1e-6, 1e-9, 1e-12, 1e-15, 1e-18]) is not None


def test_a_split_by_person_is_named_beside_wrong_labels() -> None:
    counts = {
        "train": [(314, 900), (567, 900), (880, 900)],
        "probe": [(36, 64), (45, 64), (63, 64)],
        "val": [(48, 200), (46, 200), (46, 200)],
    }
    found = diagnose(history(counts=counts, classes=4)).finding("LD608")
    assert found.title == "Validation labels are wrong, or validation is another population"
    assert "other people, sites, times" in found.summary


def test_what_a_balanced_sampler_drew_is_what_training_is_judged_by() -> None:
    facts = {"class_counts": (1900, 100), "drawn_counts": (1000, 1000)}
    run = history({"train/loss": [0.70, 0.693, 0.694]}, counts={"train": [(1001, 2000)] * 3}, classes=2, train=facts)
    text = diagnose(run).finding("LD115").evidence[0].text
    assert "always naming the most frequent class gives 50 %" in text


@pytest.mark.parametrize(("right", "severity"), [((280, 290, 291), "info"), ((250, 262, 270), "warning")])
def test_strong_augmentation_with_good_validation_is_only_worth_knowing(right, severity) -> None:
    """Shifts and noise on digits: training stays at 75 %, validation reaches 97 %, and nothing is to be won by weakening them."""
    counts = {"probe": [(120, 200), (140, 200), (150, 200)], "val": [(k, 300) for k in right]}
    found = diagnose(history(counts=counts, classes=10, train={"augmented": True})).finding("LD613")
    assert found.severity == severity
