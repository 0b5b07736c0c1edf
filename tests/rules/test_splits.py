"""Random splits must not be told apart, whatever their features look like."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_diag.rules.split_shift import SplitShift
from lightning_diag.signals.two_sample import compare
from tests.build import history


def split_shift(train, val):
    moments = [{"input_mean": float(x.mean()), "input_std": float(x.std())} for x in (train, val)]
    shift = compare(train, val)
    data = {"shift_smd": shift.smd, "shift_pvalue": shift.pvalue, "shift_auc": shift.auc} if shift else {}
    return SplitShift().check(history(train=moments[0], val=moments[1], data=data))


def lognormal(rng, shape):
    return np.exp(2 * rng.standard_normal(shape))


def pareto(rng, shape):
    return rng.pareto(2, shape)


@pytest.mark.parametrize("draw", [lognormal, pareto])
def test_long_tails_are_no_shift(draw) -> None:
    """Their spreads differ by a factor of 2 in 26 and 13 of 100 random splits; a test at 1 % allows for 1 of 100."""
    rng = np.random.default_rng(0)
    alarms = [split_shift(draw(rng, (1000, 5)), draw(rng, (200, 5))) for _ in range(40)]
    assert sum(found is not None for found in alarms) <= 2


def test_another_unit_is_a_shift_in_long_tails_too() -> None:
    rng = np.random.default_rng(0)
    found = split_shift(lognormal(rng, (1000, 5)), 16 * lognormal(rng, (200, 5)))
    assert (found.severity, found.claim) == ("warning", "established")
    assert found.evidence[0].p_value <= 0.01


def test_too_few_samples_for_a_test_are_worth_knowing_and_not_established() -> None:
    rng = np.random.default_rng(0)
    found = split_shift(rng.standard_normal((1000, 5)), 16 * rng.standard_normal((5, 5)))
    assert (found.severity, found.claim) == ("info", "likely")
    assert "no two-sample test" in found.against[0].text
