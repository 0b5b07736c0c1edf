"""LD205: when a run is called unfinished, when it is called clear, and when neither."""

from __future__ import annotations

import pytest

from lightning_diag.engine import diagnose
from tests.build import history

LEVEL = [1.6, 1.3, 1.0, 0.98, 0.98, 0.97, 0.98, 0.97, 0.98, 0.98]
TRAIN = [300, 340, 370, 400, 430, 460, 490, 520, 550, 580]
VAL = [150, 190, 220, 228, 237, 246, 255, 262, 271, 280]


def run(val=VAL, train=TRAIN, loss=LEVEL, n=500, **context):
    counts = {"train": [(k, 1000) for k in train], "val": [(k, n) for k in val]}
    return history({"val/loss": loss}, counts=counts, classes=5, **context)


def test_a_smooth_fall_that_slows_down_is_still_improving() -> None:
    """Down in each of fifteen epochs: that the steps get smaller was taken for noise."""
    losses = [0.617, 0.558, 0.510, 0.467, 0.429, 0.395, 0.365, 0.340, 0.319, 0.303, 0.289, 0.279, 0.270, 0.262, 0.256]
    found = diagnose(history({"val/loss": losses}, classes=2)).finding("LD205")
    assert found is not None
    assert found.severity == "info"


def test_a_fall_within_the_noise_is_none() -> None:
    losses = [1.0, 0.6, 0.50, 0.56, 0.49, 0.55, 0.50, 0.54, 0.49, 0.55, 0.48]
    assert diagnose(history({"val/loss": losses}, classes=3)).finding("LD205") is None


def test_accuracy_that_rises_over_a_level_loss_is_still_improving_and_says_so_first() -> None:
    diagnosis = diagnose(run(train=[k + 120 for k in TRAIN]))
    assert [f.code for f in diagnosis.findings][:2] == ["LD205", "LD203"]
    assert diagnosis.findings[0].severity == "info"
    assert diagnosis.findings[0].actions[0] == "train longer"
    assert "validation accuracy 246/500 = 49 % → 280/500 = 56 % since epoch 5" in diagnosis.findings[0].summary
    assert "Ended while accuracy still rose" in diagnosis.verdict


@pytest.mark.parametrize(
    "other",
    [
        {"train": [*TRAIN[:5], 440, 445, 438, 446, 442]},  # training is level
        {"train": [500, 700, 800, 900, 955, 960, 965, 970, 975, 980]},  # nothing is left to fit
        {"val": [150, 190, 220, 228, 237, 246, 281, 262, 271, 280]},  # the best is behind
        {"val": [150, 190, 220, 250, 230, 246, 225, 255, 230, 256]},  # a rise within its noise
        {"val": [15, 19, 22, 23, 24, 25, 25, 26, 27, 28], "n": 50},  # four samples
        {"loss": [1.6, 1.3, 1.0, 1.05, 1.1, 1.15, 1.2, 1.2, 1.25, 1.3]},  # longer training has a price
        {"lrs": [0.01] * 5 + [0.005, 0.003, 0.001, 0.0005, 0.0001]},  # the end of the schedule lifts it once
        {"stop": {"status": "running"}},  # no end
    ],
)
def test_a_rise_of_accuracy_needs_every_sign(other) -> None:
    assert diagnose(run(**other)).finding("LD205") is None


@pytest.mark.parametrize(
    ("chance", "val", "clear"),
    [
        (0.53, [250] * 9 + [252], False),
        (0.30, [250] * 9 + [252], True),
        (0.53, [250, 260] + [250] * 8, True),
    ],
)
def test_what_may_well_improve_is_not_called_clear(chance, val, clear) -> None:
    diagnosis = diagnose(run(val, stop={"status": "finished", "probability": ((9, chance),)}, monitor="val/acc"))
    assert diagnosis.finding("LD205") is None
    assert ("LD205" in [c.code for c in diagnosis.clear]) is clear
    reasons = [o.reason for o in diagnosis.not_checked if o.code == "LD205"]
    said = "the best is one of the last three evaluations, and after epoch 9 the probability that it still improves was 53 %"
    assert reasons == ([] if clear else [f"not established: {said}"])
