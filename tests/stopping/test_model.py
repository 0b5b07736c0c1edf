import itertools
import math

import numpy as np
import pytest

from lightning_diag.stopping.features import FEATURES
from lightning_diag.stopping.model import Curve, Outlook, shipped
from lightning_diag.stopping.wording import FACTS


def test_curve():
    curve = Curve((0.0, 1.0, 3.0), (5.0, 6.0, 0.0), missing=-1.0)
    assert [curve(x) for x in (-9.0, 0.0, 0.5, 2.0, 3.0, 9.0)] == [5.0, 5.0, 5.5, 3.0, 0.0, 0.0]
    assert curve(math.nan) == -1.0


def test_outlook_is_a_distribution():
    outlook = Outlook((0.0, 0.5), (0.8, 0.4))
    assert outlook.probability(0.25) == pytest.approx(0.6)
    assert outlook.expected == pytest.approx(0.5 * 0.6 + 0.5 * 0.2)
    assert outlook.quantile(0.1) == 0.0
    assert outlook.quantile(0.4) == pytest.approx(0.25)
    assert outlook.quantile(0.8) == pytest.approx(0.75)


@pytest.mark.parametrize("model", shipped())
def test_shipped_model_is_coherent(model):
    assert set(model.curves) <= set(FEATURES)
    assert all(a < b for a, b in itertools.pairwise(model.scores))
    table = np.array(model.table)
    assert np.all(np.diff(table, axis=0) >= 0), "a higher score means that more is missed"
    assert np.all(np.diff(table, axis=1) <= 0), "missing more is less likely"
    shares, limits = zip(*model.limits, strict=True)
    assert list(shares) == sorted(shares)
    assert list(limits) == sorted(limits)
    for curve in model.curves.values():
        assert len(curve.knots) == len(curve.values)
        assert all(a < b for a, b in itertools.pairwise(curve.knots))


def test_every_fact_has_words():
    assert FACTS.keys() == FEATURES.keys()


def test_the_model_stays_small():
    numbers = sum(len(c.knots) + len(c.values) + 1 for model in shipped() for c in model.curves.values())
    assert numbers <= 1000
