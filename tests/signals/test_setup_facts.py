"""What loaders say about themselves."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, RandomSampler, TensorDataset, WeightedRandomSampler

from lightning_diag.signals.setup_facts import model_facts, split_facts


def test_a_data_set_of_ready_batches_does_not_tell_how_many_samples_it_has():
    samples = TensorDataset(torch.randn(12, 4))
    assert split_facts(DataLoader(samples, batch_size=5)).size == 12
    ready = split_facts(DataLoader([torch.randn(5, 4), torch.randn(7, 4)], batch_size=None))
    assert (ready.size, ready.batches, ready.batch_size) == (None, 2, None)


def test_a_sampler_says_whether_it_draws_again():
    samples = TensorDataset(torch.randn(12, 4))
    assert split_facts(DataLoader(samples, shuffle=True)).replacement is False
    assert split_facts(DataLoader(samples, sampler=RandomSampler(samples, replacement=True))).redrawn
    assert split_facts(DataLoader(samples, sampler=WeightedRandomSampler([1.0] * 12, 12))).redrawn
    assert not split_facts(
        DataLoader(samples, sampler=WeightedRandomSampler([1.0] * 12, 12, replacement=False))
    ).redrawn
    assert split_facts(DataLoader(samples)).replacement is None


class DropPath(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p = p


class Functional(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.dropout_rate = rate


@pytest.mark.parametrize(
    ("part", "drops"),
    [
        (nn.Dropout(0.1), True),
        (nn.Dropout(0.0), False),
        (DropPath(0.1), True),
        (DropPath(0.0), False),
        (Functional(0.3), True),
        (Functional(0.0), False),
        (nn.LSTM(4, 4, num_layers=2, dropout=0.2), True),
        (nn.LSTM(4, 4), False),
        (nn.MultiheadAttention(4, 2, dropout=0.1), True),
        (nn.Linear(4, 4), False),
    ],
)
def test_what_drops_in_training_is_seen_without_a_dropout_layer(part, drops):
    assert model_facts(nn.Sequential(nn.Linear(4, 4), part)).dropout is drops
