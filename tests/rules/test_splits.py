"""Random splits must not be told apart, whatever their features look like."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from lightning_diag.engine import diagnose
from lightning_diag.history import Count, SplitFacts
from lightning_diag.report import render_markdown
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


def tokens(seen, repeated, distinct, n=2000):
    run = history(
        {"val/loss": [1.0]},
        data={"overlap": Count(k=seen, n=500)},
        train={"hashed": n, "distinct": distinct, "repeated": repeated},
    )
    found = diagnose(run).findings
    return found[0] if found else None


def zipf(rng, n):
    return rng.zipf(1.5, n)


def test_sequences_that_recur_are_no_leak() -> None:
    """Both splits drawn from one long-tailed source of phrases: nothing was copied."""
    rng = np.random.default_rng(0)
    loud = 0
    for _ in range(40):
        train, val = zipf(rng, 2000), zipf(rng, 500)
        kinds = Counter(train.tolist())
        found = tokens(sum(v in kinds for v in val.tolist()), sum(c for c in kinds.values() if c > 1), len(kinds))
        loud += found is not None and found.severity != "info"
    assert loud <= 2


def test_more_than_training_repeats_is_a_leak_all_the_same() -> None:
    assert tokens(150, 600, 1600).severity == "info"
    assert tokens(300, 600, 1600).severity == "error"
    assert tokens(500, 0, 2000).code == "LD605", "every sample of training is the only one of its kind"
    assert tokens(490, 1980, 60) is None, "training repeats itself as much"


def test_more_repetitions_than_samples_are_no_count():
    """A file can say what no run measures; a rule must not fall over it."""
    assert SplitFacts(hashed=3, repeated=5).repeats is None
    assert SplitFacts(hashed=3, repeated=2).repeats == Count(k=2, n=3)


@pytest.mark.parametrize(("near", "printed"), [(98, False), (110, True)])
def test_copies_are_not_counted_again_as_near_copies(near, printed):
    run = history(
        counts={"val": [(130, 140)]}, data={"overlap": Count(k=98, n=140), "near_overlap": Count(k=near, n=140)}
    )
    assert ("nearly equal a training sample" in render_markdown(run, diagnose(run))) is printed
