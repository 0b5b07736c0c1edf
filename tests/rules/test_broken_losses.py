"""LD101: what came after a loss that was not finite says whether the weights were lost."""

from __future__ import annotations

import math

import pytest

from lightning_diag.engine import diagnose
from lightning_diag.rules.exploding_gradient import ExplodingGradient
from lightning_diag.rules.non_finite_loss import NonFiniteLoss
from tests.build import history

FINE = {"train/loss": [1.0, 0.5, 0.3, 0.2, 0.15, 0.1], "val/loss": [1.0, 0.6, 0.5, 0.4, 0.35, 0.34]}


def said(series, **context):
    return diagnose(history({**FINE, **series}, **context), rules=[NonFiniteLoss()]).findings[0]


def test_one_infinite_validation_loss_is_no_divergence() -> None:
    found = said({"val/loss": [1.0, 0.6, math.inf, 0.4, 0.35, 0.34]})
    assert found.title == "The validation loss is not finite in 1 of 6 evaluations"
    assert (found.severity, found.scope, found.explains) == ("warning", "val", ())
    assert "diverged" not in found.summary
    assert not any("learning rate" in action for action in found.actions)
    assert found.evidence[0].observed == 1


def test_a_validation_that_stays_broken_is_an_error_of_validation() -> None:
    found = said({"val/loss": [1.0, 0.6, math.nan, math.nan, math.nan, math.nan]})
    assert (found.severity, found.scope) == ("error", "val")
    assert "LD205" in found.explains


def test_a_validation_loss_that_breaks_at_the_very_end_leaves_the_weights_in_doubt() -> None:
    assert said({"val/loss": [1.0, 0.6, 0.5, 0.4, 0.35, math.nan]}).summary.startswith("The run diverged")


def test_a_step_that_loss_scaling_skipped() -> None:
    one = {"loss/nonfinite_steps": [1, 0, 0, 0, 0, 0], "grad/nonfinite_steps": [2, 0, 0, 0, 0, 0]}
    found = said(one, precision="16-mixed")
    assert found.summary == "The run went on, but 1 training step had a non-finite loss, in epoch 0."
    assert (found.severity, found.explains) == ("warning", ())
    assert "scaling" in found.why
    assert "bf16-mixed" in found.actions[0]
    assert any("finite from epoch 1 on" in fact.text for fact in found.evidence)


@pytest.mark.parametrize(
    ("series", "diverged"),
    [
        ({"train/loss": [1.0, math.nan, 0.3, 0.2, 0.15, 0.1]}, False),
        ({"train/loss": [1.0, 0.5, math.nan, math.nan], "val/loss": [1.0, 0.6, math.nan, math.nan]}, True),
        ({"loss/nonfinite_steps": [0, 0, 0, 0, 0, 3]}, False),
        ({"loss/nonfinite_steps": [0, 0, 0, 0, 0, 3], "val/loss": [1.0, 0.6, 0.5, 0.4, 0.35]}, True),
        ({"loss/nonfinite_steps": [0, 0, 0, 0, 0, 3], "val/loss": []}, True),
    ],
    ids=["mean of one epoch", "to the end", "validated afterwards", "not validated afterwards", "no validation"],
)
def test_what_follows_decides(series, diverged) -> None:
    assert said(series).summary.startswith("The run diverged" if diverged else "The run went on")


def test_an_explosion_is_not_hidden_behind_a_step_that_was_skipped() -> None:
    run = history(
        {"train/loss": [1.0, 0.5, 900.0, 3.0], "loss/first": [1.1], "loss/nonfinite_steps": [1, 0, 0, 0]}, classes=3
    )
    assert "exploded" in diagnose(run, rules=[NonFiniteLoss()]).findings[0].title


@pytest.mark.parametrize(
    ("precision", "loud"),
    [
        ("bf16-mixed", True),
        ("16-true", True),
        ("bf16-true", True),
        ("32-true", True),
        (None, True),
        ("16-mixed", False),
    ],
)
def test_only_scaled_fp16_has_gradients_that_are_meant_to_break(precision, loud) -> None:
    run = history(
        {"grad/norm": [1.0, 1.2], "grad/norm_max": [2.0, 3.0], "grad/nonfinite_steps": [4, 0]}, precision=precision
    )
    assert bool(diagnose(run, rules=[ExplodingGradient()]).findings) is loud
