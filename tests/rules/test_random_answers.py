"""LD701: two answers to one batch differ by more than rounding makes."""

from __future__ import annotations

import pytest

from lightning_diag.engine import diagnose
from lightning_diag.history import Count
from lightning_diag.rules.evaluation_in_train_mode import EvaluationInTrainMode
from tests.build import history


@pytest.mark.parametrize(
    ("precision", "difference", "random"),
    [("32-true", 0.0078, True), ("bf16-mixed", 0.0078, False), ("16-mixed", 0.0078, True), ("bf16-mixed", 0.2, True)],
)
def test_answers_are_random_beyond_what_rounding_makes(precision, difference, random) -> None:
    model = {"eval_mode_ok": Count(k=30, n=30), "nondeterministic_eval": difference}
    run = history({"val/loss": [1.0]}, model=model, precision=precision)
    assert bool(diagnose(run, rules=[EvaluationInTrainMode()]).findings) is random
