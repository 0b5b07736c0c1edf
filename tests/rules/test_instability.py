"""Signs of updates that are too large."""

from __future__ import annotations

import pytest

from lightning_diag.engine import diagnose
from lightning_diag.rules.instability import restless
from tests.build import history

ARC = [5.37, 2.7, 2.68, 2.68, 2.67, 2.66, 2.64, 2.56, 2.35, 1.84, 1.02, 0.47, 0.24, 0.15]


def test_a_bent_fall_is_not_restless():
    """The training loss of a healthy CTC run that leaves the all-blank phase late."""
    assert restless(history({"train/loss": ARC}), 0.25, 0.1) is None


def test_jumps_are_restless():
    jumps = [5.4, 2.7, 2.6, 2.9, 2.2, 3.4, 2.1, 3.6, 1.9, 3.3, 2.0, 3.5, 1.8, 3.2]
    assert restless(history({"train/loss": jumps}, classes=10), 0.25, 0.1) is not None


def test_six_noisy_steps_do_not_make_a_learning_rate_too_high() -> None:
    """A healthy run of 90 samples: the epochs jump by 40 % of themselves, as the spread of six steps makes them."""
    losses = [
        1.13,
        0.95,
        0.68,
        0.57,
        0.36,
        0.53,
        0.33,
        0.30,
        0.29,
        0.28,
        0.24,
        0.155,
        0.122,
        0.127,
        0.2,
        0.11,
        0.18,
        0.117,
        0.19,
        0.12,
    ]
    wide = {"loss/step_min": [x * 0.3 for x in losses], "loss/step_max": [x * 2.2 for x in losses]}
    narrow = {"loss/step_min": [x * 0.98 for x in losses], "loss/step_max": [x * 1.02 for x in losses]}
    common = {"classes": 3, "train": {"batches": 6, "batch_size": 16, "size": 90}}
    assert "LD102" not in [f.code for f in diagnose(history({"train/loss": losses, **wide}, **common)).findings]
    assert "LD102" in [f.code for f in diagnose(history({"train/loss": losses, **narrow}, **common)).findings]


def test_a_loss_that_falls_with_the_schedule_to_many_times_the_untrained_one_is_harm() -> None:
    """A one-cycle schedule with a hundred times the usual rate: every sign, and a loss that only falls to the end."""
    run = {
        "val/loss": [23.4, 73.3, 66.9, 46.7, 43.6, 32.4, 20.6, 12.7],
        "loss/first": [1.62],
        "loss/step_max": [26.6, 77.6, 79.6, 107.0, 67.7, 48.7, 31.9, 19.6],
        "update/ratio": [0.99, 0.986, 0.68, 0.389, 0.161, 0.072, 0.011, 0.003],
        "param/norm": [290.0, 5111.0, 8595.0, 9784.0, 10060.0, 10161.0, 10170.0, 10170.0],
    }
    counts = {"train": [(1206 + 35 * i, 3453) for i in range(8)], "val": [(253 + 13 * i, 831) for i in range(8)]}
    high, low = [6.5, 45.4, 63.6, 65.6, 51.2, 39.1, 25.9, 14.1], [6.5, 4.5, 3.0, 2.0, 1.4, 1.1, 0.9, 0.8]
    found = diagnose(history({**run, "train/loss": high}, counts=counts, task="dense", classes=5)).findings
    assert found[0].code == "LD102"
    assert [f.severity for f in found if f.code == "LD205"] == ["info"], "no longer the advice that comes first"
    trained = diagnose(history({**run, "train/loss": low}, counts=counts, task="dense", classes=5)).findings
    assert "LD102" not in [f.code for f in trained]


@pytest.mark.parametrize(
    ("changed", "named"), [({}, True), ({"update/ratio": [0.3]}, False), ({"loss/step_max": [0.9]}, False)]
)
def test_two_signs_and_less_than_half_learned_are_harm_although_the_loss_falls(changed, named) -> None:
    """A tagger of images, four labels, Adam at a hundred times the rate that trains it to 0.04."""
    run = {
        "train/loss": [0.64, 0.499, 0.511, 0.511, 0.495, 0.483, 0.489, 0.483, 0.478, 0.473],
        "loss/first": [0.691],
        "loss/step_max": [2.71, 0.587],
        "update/ratio": [1.0, 0.0955, 0.15, 0.137],
        "param/norm": [71.4, 83.4],
    }
    assert ("LD102" in [f.code for f in diagnose(history({**run, **changed}, task="multilabel")).findings]) is named


def test_two_signs_are_no_harm_where_more_than_half_was_learned() -> None:
    run = {
        "train/loss": [0.6, 0.5, 0.42, 0.36, 0.32, 0.3],
        "loss/first": [0.691],
        "loss/step_max": [2.71, 0.587],
        "update/ratio": [1.0, 0.0955],
    }
    assert "LD102" not in [f.code for f in diagnose(history(run, task="multilabel")).findings]


def test_an_update_of_more_than_twice_the_weights_is_decay_and_no_large_step() -> None:
    run = {"train/loss": [5.7, 2.7, 2.7, 2.7], "param/norm": [3.9, 4.2, 4.2, 4.2]}
    stuck = {"counts": {"train": [(101, 1000)] * 4}, "classes": 10}
    assert "LD102" in [
        f.code for f in diagnose(history({**run, "update/ratio": [0.98, 0.2, 0.1, 0.1]}, **stuck)).findings
    ]
    decayed = diagnose(history({**run, "update/ratio": [2.87, 0.2, 0.1, 0.1]}, **stuck)).findings
    assert "LD102" not in [f.code for f in decayed]


def test_a_spike_at_the_top_of_a_warm_up_is_one() -> None:
    """SGD up to 1.0 over ten epochs: it learns, until the rate passes 0.4."""
    run = {
        "train/loss": [1.95, 0.94, 0.95, 1.81, 35.1, 2.41, 2.36, 2.36, 2.41, 2.4],
        "loss/first": [2.3],
        "loss/step_max": [2.32, 2.06, 2.12, 5.09, 426.0, 2.68, 2.51, 2.51, 2.72, 2.67],
        "update/ratio": [0.476, 0.699, 0.696, 0.833, 1.0, 0.122, 0.005, 0.001, 0.001, 0.001],
        "relu/dead_share": [0.2, 0.37, 0.63, 0.78, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
    }
    warm = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    found = diagnose(history(run, classes=10, lrs=warm)).findings
    assert found[0].code == "LD102"
    assert "a step of epoch 4 had a loss of 426" in found[0].summary
    assert "LD102" not in [f.code for f in diagnose(history(run, classes=10, lrs=[0.5] * 10)).findings]


@pytest.mark.parametrize(("norm", "named"), [(0.04, False), (65.0, True)])
def test_weights_that_begin_tiny_are_replaced_by_any_step(norm, named) -> None:
    run = {"train/loss": [2.303] * 4, "update/ratio": [0.956, 0.67, 0.26, 0.26], "param/norm": [norm] * 4}
    stuck = {"counts": {"train": [(101, 1000)] * 4}, "classes": 10, "model": {"trainable": 34000}}
    assert ("LD102" in [f.code for f in diagnose(history(run, **stuck)).findings]) is named
