import numpy as np
import torch
from torch.utils.data import Subset, TensorDataset

from lightning_diag.signals.labels import class_counts


class Own:
    def __init__(self, targets):
        self.targets = targets

    def __len__(self):
        return 4


def test_labels_are_found_where_data_sets_keep_them():
    y = torch.tensor([0, 2, 2, 1])
    data = TensorDataset(torch.zeros(4, 3), y)
    assert class_counts(data) == (1, 1, 2)
    assert class_counts(Subset(data, [1, 2])) == (0, 0, 2)
    assert class_counts(Own([0, 2, 2, 1])) == (1, 1, 2)
    assert class_counts(Own(np.array([0, 2, 2, 1]))) == (1, 1, 2)


def test_what_is_no_class_index_gives_nothing():
    assert class_counts(TensorDataset(torch.zeros(4, 3), torch.zeros(4, 3))) == ()
    assert class_counts(TensorDataset(torch.zeros(4, 3), torch.tensor([0.5, 1, 2, 3]))) == ()
    assert class_counts(Own(["cat", "dog", "cat", "dog"])) == ()
    assert class_counts(Own([0, 1])) == ()
    assert class_counts(Own([-1, 0, 1, 1])) == ()
    assert class_counts(iter([])) == ()
    assert class_counts(None) == ()
