import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_diag.history import Count
from lightning_diag.readers import read_run
from lightning_diag.readers.counting import count_of, fitting_size


@given(st.integers(1, 4000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_count_printed_with_enough_digits_comes_back(pair):
    k, n = pair
    assert count_of(round(k / n, 4), n, 1e-4) == Count(k=k, n=n)


@given(st.floats(0, 1), st.integers(1, 10**6))
def test_a_count_is_as_near_as_it_says(share, n):
    count = count_of(share, n, 1e-4)
    assert count is None or abs(count.rate - share) <= 1e-4


def test_too_few_digits_for_the_size_give_no_count():
    assert count_of(0.72, 29, 0.01) == Count(k=21, n=29)
    assert count_of(0.72, 99, 0.01) is None
    assert count_of(0.72, 200, 0.01) is None
    assert count_of(float("nan"), 29, 1e-4) is None


@pytest.mark.parametrize(("n", "digits"), [(100, 2), (50, 2), (10_000, 4), (50_000, 5)])
def test_sizes_of_which_every_share_is_a_decimal_of_its_own(n, digits):
    off = 10.0**-digits
    for k in (0, 1, n // 3, n - 1, n):
        assert count_of(round(k / n, digits), n, off) == Count(k=k, n=n)


def test_a_wrong_size_gives_no_count_by_chance(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("epoch,val_acc\n" + "".join(f"{i},{(40 + 3 * i) / 97:.4f}\n" for i in range(19)))
    history, report = read_run(path, n_val=300)
    assert not any(record.stages for record in history.epochs)
    assert any("no k of 300" in note for note in report.notes)


@pytest.mark.parametrize("n", [29, 168, 189, 1000])
def test_the_size_is_found_from_the_accuracies(n):
    generator = random.Random(n)
    shares = [round(generator.randint(1, n - 1) / n, 6) for _ in range(8)]
    found = fitting_size(shares, 1e-6)
    assert found is not None
    assert n % found == 0


def test_random_numbers_have_no_size():
    """Of 300 series of random shares at most a few fit some size by chance."""
    generator = random.Random(0)
    hits = sum(fitting_size([round(generator.random(), 4) for _ in range(6)], 1e-4) is not None for _ in range(300))
    assert hits <= 10


def test_the_published_accuracies_hint_at_29_samples(tmp_path):
    path = tmp_path / "log.csv"
    values = (21, 5, 18, 19, 17, 17)
    path.write_text("epoch,val_acc\n" + "".join(f"{i},{100 * k / 29:.2f}\n" for i, k in enumerate(values)))
    assert any("--n-val 29" in note for note in read_run(path)[1].notes)
    assert not any("--n-val" in note for note in read_run(path, n_val=29)[1].notes)
