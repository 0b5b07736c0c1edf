"""What loaders say about themselves."""

import torch
from torch.utils.data import DataLoader, RandomSampler, TensorDataset, WeightedRandomSampler

from lightning_diag.signals.setup_facts import split_facts


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
