"""What the values of a target say, where chance must not say it."""

import pytest
import torch

from lightning_diag.capture import values
from lightning_diag.capture.matching import within

N = torch.arange(8)


@pytest.mark.parametrize(
    ("target", "classes"),
    [
        ((torch.arange(16) + 8) % 16, 16),  # two views of each sample
        (torch.cat([N + 7, N]), 15),  # the same without the sample itself
        (N + 16, 32),  # one of four processes
        (N ^ 1, 8),  # views beside each other
    ],
)
def test_partners_in_the_batch(target, classes):
    assert values.is_pairing(target, classes) is True


@pytest.mark.parametrize(
    ("target", "classes"),
    [
        (N, 10),  # a data set that runs through its ten classes
        (torch.tensor([1, 3, 0, 2]), 4),  # four labels of four classes are a permutation now and then
        (torch.tensor([0, 1, 2, 0, 1, 2, 0, 1]), 8),
        (torch.tensor([3, 3, 0, 6, 1, 7, 2, 5]), 8),
    ],
)
def test_labels_in_some_order_are_no_partners(target, classes):
    assert not values.is_pairing(target, classes)


@pytest.mark.parametrize(
    ("target", "decided"),
    [
        (torch.tensor([0.05, 0.95, 0.95, 0.05]), True),  # smoothed
        (torch.tensor([0.0, 0.0, 0.0, 0.3, 1.0, 0.7]), True),  # votes
        (torch.rand(64), False),  # rates
        (torch.tensor([0.0, 1.0, torch.nan, 0.5]), False),
        (torch.tensor([-1.0, 0.0, 1.0, 0.5]), False),  # no probabilities
        (torch.rand(2, 1, 8, 8) * (torch.rand(2, 1, 8, 8) > 0.8), False),  # a drawing on empty ground
    ],
)
def test_fractions_that_come_from_yes_and_no(target, decided):
    assert values.is_decided(target) is decided


def test_columns_of_one_table_share_memory_but_not_places():
    table = torch.randn(6, 9)
    assert within(table.view(-1)[:20], table)
    assert within(table[:, 1:], table[:, :-1])
    assert not within(table[:, -1], table[:, :-1])
    assert not within(table.clone(), table)
