"""A loss without one target that counts is NaN, and is not called diverged."""

from dataclasses import replace

import pytest

from lightning_diag.engine import diagnose
from lightning_diag.history import CaptureFacts, StageRecord
from lightning_diag.report import render_markdown
from tests.build import history

NAN = float("nan")


def emptied(stage, *, n=0, source="loss call cross_entropy"):
    losses = {"train/loss": [1.1, 1.0], "val/loss": [1.1, 1.0]} | {f"{stage}/loss": [NAN, NAN]}
    capture = tuple(CaptureFacts(stage=s, source=source, task="multiclass") for s in ("train", "val"))
    run = history({**losses, "grad/norm_max": [0.0, 0.0]}, classes=3, capture=capture, optim={"lr": 1e-3})
    stages = {stage: StageRecord(n=n)}
    return replace(run, epochs=tuple(replace(record, stages=stages) for record in run.epochs))


@pytest.mark.parametrize(("stage", "what"), [("train", "training"), ("val", "validation")])
def test_no_target_left_is_named_and_no_learning_rate_blamed(stage, what):
    run = emptied(stage)
    diagnosis = diagnose(run)
    found = diagnosis.findings[0]
    assert (found.code, found.title) == ("LD101", f"No {what} target counts from epoch 0 on")
    text = render_markdown(run, diagnosis)
    assert f"not one {what} target counted" in diagnosis.verdict
    assert "ignore_index" in text
    assert "**no targets" in text
    assert "diverged" not in text
    assert "A learning rate 10 times lower" not in text


@pytest.mark.parametrize("changed", [{"n": 400}, {"source": "returned outputs"}])
def test_a_loss_that_broke_with_targets_or_unseen_is_not_called_empty(changed):
    run = emptied("train", **changed)
    assert diagnose(run).verdict.startswith("The weights were not lost, but the training loss is NaN in 2 epochs")
    blind = replace(run, epochs=tuple(replace(r, values={"train/loss": r.values["train/loss"]}) for r in run.epochs))
    assert diagnose(blind).verdict.startswith(
        "The run diverged: the training loss is NaN in 2 epochs, first in epoch 0 at a learning rate of 0.001."
    )


def test_steps_whose_gradients_stayed_finite_lost_no_weights():
    series = {"train/loss": [1.1, 1.0], "val/loss": [1.1, 1.0], "loss/nonfinite_steps": [2, 3]}
    found = diagnose(history({**series, "grad/nonfinite_steps": [0, 0]})).finding("LD101")
    assert found is not None
    assert found.summary == "The run went on, but 5 training steps had a non-finite loss, first in epoch 0."
    assert "ignore_index" in found.actions[0]
    assert found.severity == "error", "it went on to the end"
