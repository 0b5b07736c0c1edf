"""Signs of updates that are too large."""

from __future__ import annotations

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
