from __future__ import annotations

import math

import pytest

from lightning_diag import words
from lightning_diag.history import Count
from lightning_diag.report import numbers
from lightning_diag.report.view import interval_text, with_interval


@pytest.mark.parametrize(
    ("fraction", "n", "shown"),
    [(21 / 29, 29, "72 %"), (0.0, 9, "0 %"), (1.0, 9, "100 %"), (0.999, 1000, "99.9 %"), (0.9996, None, "99.96 %"),
     (1e-9, None, "< 0.01 %"), (1 - 1e-9, None, "> 99.99 %"), (0.7241, 5000, "72.4 %"), (math.nan, None, ""), (None, None, "")],
)  # fmt: skip
def test_percent(fraction, n, shown):
    assert numbers.percent(fraction, n) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.41, "p = 0.41"), (0.0496, "p = 0.0496"), (0.04996, "p = 0.04996"), (0.0504, "p = 0.05"), (0.05, "p = 0.05"),
     (0.00997, "p = 0.00997"), (0.0101, "p = 0.01"), (0.02, "p = 0.02"), (0.00005, "p = 0.00005"), (1e-9, "p < 1e-6")],
)  # fmt: skip
def test_a_p_value_stays_on_its_side_of_the_level(value, shown):
    assert words.p(value) == shown


def test_counts_with_intervals():
    assert with_interval(Count(k=21, n=29)) == "21/29 = 72 % [54, 85]"
    assert with_interval(Count(k=0, n=0)) == ""
    assert interval_text(Count(k=4, n=4)) == "51–100 %"
    assert interval_text(Count(k=0, n=29)) == "0–12 %"
    assert with_interval(Count(k=99_999, n=100_000)) == "99,999/100,000 > 99.99 % [99.99, > 99.99]"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (5e-4, "0.0005"),
        (2.5e-4, "0.00025"),
        (0.001, "0.001"),
        (0.1, "0.1"),
        (1e-5, "1e-5"),
        (0.0, "0"),
        (None, ""),
        (3e-4 / 7, "4.29e-5"),
    ],
)
def test_learning_rates(value, shown):
    assert numbers.rate(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (2.02, "2.02"),
        (0.0, "0"),
        (11.3826, "11.4"),
        (-0.5, "−0.500"),
        (math.nan, "NaN"),
        (-math.inf, "−∞"),
        (123456.0, "1.23e5"),
        (12345.6, "12,346"),
    ],
)
def test_significant(value, shown):
    assert numbers.significant(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(4.2, "4.2 s"), (45, "45 s"), (210, "3.5 min"), (7200, "2.0 h"), (400_000, "4.6 days"), (None, "")],
)
def test_durations(seconds, shown):
    assert numbers.duration(seconds) == shown


def test_magnitudes_and_points():
    assert [numbers.magnitude(n) for n in (512, 130_000, 2_980_000, 7_000_000_000)] == ["512", "130 k", "2.98 M", "7 G"]
    assert [numbers.points(d) for d in (0.14, -0.14, -0.01, 0.001, 0)] == [
        "+14 points",
        "−14 points",
        "−1 point",
        "+0.1 points",
        "0 points",
    ]
