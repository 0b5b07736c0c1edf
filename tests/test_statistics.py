"""Intervals, tests and trends against published values and against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, fisher_exact, hypergeom

from lightning_diag import statistics as s
from lightning_diag import words
from lightning_diag.history import Count
from lightning_diag.tails import drawn_at_least, drawn_by_chance


def c(k: int, n: int) -> Count:
    return Count(k=k, n=n)


def test_numbers_of_the_first_write_up() -> None:
    assert s.fisher(c(21, 29), c(17, 29)) == pytest.approx(0.41, abs=0.005)
    assert s.fisher(c(21, 29), c(5, 29)) == pytest.approx(5e-5, rel=0.02)
    assert s.mcnemar(0, 4) == pytest.approx(0.125)
    assert s.samples_needed(21 / 29, 17 / 29) == 186
    assert s.rounded_up(186) == 190
    interval = s.difference(c(219, 224), c(17, 29))
    assert (interval.low, interval.high) == pytest.approx((0.23, 0.57), abs=0.005)
    assert s.detectable(29, 21 / 29) == pytest.approx(0.36, abs=0.01)


@settings(max_examples=80)
@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_agrees_with_scipy(pair: tuple[int, int]) -> None:
    ours, theirs = s.wilson(c(*pair)), binomtest(*pair).proportion_ci(0.95, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert pair[0] / pair[1] in s.Interval(ours.low - 1e-9, ours.high + 1e-9)


def test_wilson_without_samples_knows_nothing() -> None:
    assert s.wilson(c(0, 0)) == s.Interval(0.0, 1.0)


def test_difference_covers_95_percent() -> None:
    rng = np.random.default_rng(0)
    draws = zip(rng.binomial(40, 0.8, 2000), rng.binomial(60, 0.6, 2000), strict=True)
    inside = np.mean([0.2 in s.difference(c(int(a), 40), c(int(b), 60)) for a, b in draws])
    assert 0.93 <= inside <= 0.98


def test_sample_size_has_the_promised_power() -> None:
    n = s.samples_needed(0.9, 0.8)
    rng = np.random.default_rng(1)
    first, second = rng.binomial(n, 0.9, 4000) / n, rng.binomial(n, 0.8, 4000) / n
    mean = (first + second) / 2
    z = np.abs(first - second) / np.sqrt(2 * mean * (1 - mean) / n)
    assert 0.77 <= np.mean(z > 1.96) <= 0.83


def test_sample_size_against_a_target_has_the_power_it_states() -> None:
    n = s.samples_needed_against(0.82, 21 / 29)
    assert n == 111
    rng = np.random.default_rng(3)
    found = rng.binomial(n, 21 / 29, 4000) / n
    assert 0.76 <= np.mean((0.82 - found) / np.sqrt(0.82 * 0.18 / n) > 1.645) <= 0.84


def test_the_level_before_a_correction_is_the_one_that_the_correction_takes_back() -> None:
    assert s.corrected(s.before_correction(0.05, 40), 40) == pytest.approx(0.05)
    assert s.before_correction(0.05, 1) == pytest.approx(0.05)


def test_sample_size_of_equal_rates_is_refused() -> None:
    with pytest.raises(ValueError, match="two different rates"):
        s.samples_needed(0.5, 0.5)
    with pytest.raises(ValueError, match="two different rates"):
        s.samples_needed_against(0.5, 0.5)


@pytest.mark.parametrize(("n", "rate"), [(29, 0.72), (400, 0.9), (5, 0.5), (10_000, 0.99)])
def test_detectable_is_the_inverse_of_sample_size(n: int, rate: float) -> None:
    drop = s.detectable(n, rate)
    assert drop == rate or s.samples_needed(rate, rate - drop) <= n + 1
    assert drop == rate or s.samples_needed(rate, rate - 0.95 * drop) > n


def test_best_of_bias_bounds_the_measured_optimism() -> None:
    rng = np.random.default_rng(2)
    best = rng.binomial(50, 0.7, (4000, 20)).max(axis=1) / 50
    assert s.best_of_bias(50, 0.7, 20) == pytest.approx(best.mean() - 0.7, abs=0.01)
    assert s.best_of_bias(50, 0.7, 1) == 0.0


def test_correction_for_many_looks() -> None:
    assert s.corrected(0.01, 1) == pytest.approx(0.01)
    assert s.corrected(0.01, 10) == pytest.approx(1 - 0.99**10)
    assert s.corrected(1e-20, 30) == pytest.approx(3e-19)
    assert s.corrected(1.0, 5) == 1.0


def test_noise_ignores_the_slope_and_one_jump() -> None:
    rng = np.random.default_rng(3)
    values = 5 - 0.05 * np.arange(200) + rng.normal(0, 0.1, 200)
    values[100:] += 3
    assert s.noise(list(values)) == pytest.approx(0.1, rel=0.25)
    assert s.noise([1.0, 2.0]) == 0.0


def test_a_smooth_fall_that_slows_down_is_no_noise_about_its_curve() -> None:
    smooth = [0.25 + 0.4 * 0.85**i for i in range(15)]
    assert s.noise(smooth) > 0.01
    assert s.noise_about_curve(smooth) < 0.003
    rng = np.random.default_rng(3)
    noisy = 2 * np.exp(-np.arange(200) / 60) + rng.normal(0, 0.1, 200)
    assert s.noise_about_curve(list(noisy)) == pytest.approx(0.1, rel=0.25)
    assert s.noise_about_curve([1.0, 2.0]) == 0.0


def test_trend_direction_and_level() -> None:
    falling = s.trend([5.0, 4.1, 3.3, 2.0, 1.2, 0.1])
    assert falling.slope == pytest.approx(-0.98, abs=0.1)
    assert falling.p_value < 0.01
    rng = np.random.default_rng(4)
    p_values = [s.trend(list(rng.normal(size=12))).p_value for _ in range(400)]
    assert np.mean(np.array(p_values) < 0.05) <= 0.08
    assert s.trend([1.0, 1.0, 1.0]) == s.Trend(0.0, 1.0)
    assert s.trend([3.0, 2.0, 1.0], x=[0, 10, 20]).slope == pytest.approx(-0.1)


def test_the_trend_of_ten_thousand_values_is_taken_from_stretches() -> None:
    rng = np.random.default_rng(5)
    found = s.trend(list(1 - 1e-5 * np.arange(10_000) + 0.1 * rng.normal(size=10_000)))
    assert found.slope == pytest.approx(-1e-5, rel=0.1)
    assert found.p_value < 1e-9
    p_values = [s.trend(list(rng.normal(size=1_000))).p_value for _ in range(200)]
    assert np.mean(np.array(p_values) < 0.05) <= 0.09


@settings(max_examples=200)
@given(st.tuples(*[st.integers(0, 300)] * 4), st.floats(0, 1))
def test_exact_tests_agree_with_scipy(table: tuple[int, int, int, int], rate: float) -> None:
    a, b, c_, d = table
    first, second, total = c(a, a + b), c(c_, c_ + d), a + b + c_ + d
    if first.n and second.n:
        assert s.fisher(first, second) == pytest.approx(fisher_exact([[a, b], [c_, d]])[1], rel=1e-7, abs=1e-280)
        chance = hypergeom.sf(a - 1, total, a + b, a + c_)
        assert drawn_at_least(total, a + b, a + c_, a) == pytest.approx(chance, rel=1e-7, abs=1e-280)
    for alternative, at in (("greater", rate), ("less", rate)):
        expected = binomtest(a, max(1, a + b), at, alternative=alternative).pvalue
        assert s.binomial(c(a, max(1, a + b)), at, alternative) == pytest.approx(expected, rel=1e-7, abs=1e-280)
    assert s.mcnemar(a, b) == pytest.approx(binomtest(a, a + b).pvalue if a + b else 1.0, rel=1e-7, abs=1e-280)


def test_mcnemar_and_binomial_edges() -> None:
    assert s.mcnemar(0, 0) == 1.0
    assert s.binomial(c(0, 0), 0.5, "greater") == 1.0
    assert s.binomial(c(1, 168), 0.01, "greater") > 0.5


def test_fisher_of_more_samples_than_fit_an_integer_product():
    huge = 2**40
    assert s.fisher(Count(k=huge // 2, n=huge), Count(k=huge // 2, n=huge)) == 1.0
    assert s.fisher(Count(k=huge // 2, n=huge), Count(k=huge // 3, n=huge)) == 0.0
    small, large = (
        (Count(k=480_000, n=999_000), Count(k=520, n=1000)),
        (Count(k=480_000, n=1_000_000), Count(k=520, n=1000)),
    )
    assert s.fisher(*large) == pytest.approx(s.fisher(*small), rel=0.25)  # of 1,000 samples, p-values are that coarse


def test_association_sees_a_rare_class_that_accuracy_hides() -> None:
    rare = [(383, 393, 380), (17, 7, 4)]  # 96 % of one class: accuracy 384 of 400 is no better than always naming it
    assert s.binomial(Count(k=384, n=400), 383 / 400, "greater") > 0.4
    assert s.association(rare) < 1e-3
    assert s.association([(383, 400, 383), (17, 0, 0)]) == 1.0, "always the same answer"
    assert s.association([(200, 200, 101), (200, 200, 101)]) > 0.3
    assert s.association([]) == 1.0
    assert s.association([(1, 1, 1), (39, 39, 39)]) == pytest.approx(1 - (1 - 1 / 40) ** 2)


def test_kappa() -> None:
    assert s.kappa([(50, 50, 50), (50, 50, 50)]) == 1.0
    assert s.kappa([(90, 100, 90), (10, 0, 0)]) == pytest.approx(0.0)
    assert s.kappa([]) == 0.0


def test_pairs_needed_is_fewer_than_unpaired_and_shrinks_with_the_change() -> None:
    assert s.pairs_needed(5, 7, 397) > s.pairs_needed(2, 10, 397) > s.pairs_needed(0, 30, 397)
    assert s.pairs_needed(2, 10, 397) < s.samples_needed(386 / 397, 378 / 397)
    assert (
        s.pairs_needed(0, 10, 100) == s.pairs_needed(10, 0, 100) == 77
    )  # Connor's formula by hand: (1.96 * 0.3162 + 0.8416 * 0.3)^2 / 0.01
    with pytest.raises(ValueError, match="gains equal losses"):
        s.pairs_needed(3, 3, 10)


def test_the_association_of_very_many_samples_is_bounded_at_once() -> None:
    """Above a million samples an upper bound stands for the exact sum; it is never below it."""
    for row in ((60, 30, 25), (60, 50, 35), (500, 400, 260), (990, 900, 895), (31, 20, 31 - 12)):
        assert drawn_by_chance(1_000, *row) >= hypergeom.sf(row[2] - 1, 1_000, *row[:2])
    half = 1_500_000_000
    assert s.association([(half, half, half // 2 + 10), (half, half, half // 2 + 10)]) > 0.5
    assert s.association([(half, half, half // 2 + 10**6), (half, half, half // 2 + 10**6)]) < 1e-100


def test_a_p_value_that_is_no_number_is_written() -> None:
    assert words.p(float("nan")) == "p unknown"
