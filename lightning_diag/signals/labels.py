"""Class counts of a data set that carries its labels, without reading a sample."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset, TensorDataset

ATTRIBUTES = ("targets", "labels", "y", "_labels")
MOST_LABELS = 5_000_000
MOST_CLASSES = 100_000


def class_counts(dataset: Any) -> tuple[int, ...]:
    """Samples per class index, from labels that the data set holds; empty where it holds none.

    Args:
        dataset: anything; ``TensorDataset``, ``Subset`` and the ``targets`` / ``labels`` attributes that torchvision and
            most own data sets have are understood.
    """
    try:
        labels = _labels(dataset)
    except Exception:  # noqa: BLE001  (attributes of the user's own data set may be anything)
        return ()
    if labels is None or not 0 < len(labels) <= MOST_LABELS or int(labels.min()) < 0:
        return ()
    return tuple(torch.bincount(labels).tolist()) if int(labels.max()) < MOST_CLASSES else ()


def _labels(dataset: Any) -> Tensor | None:
    if isinstance(dataset, Subset):
        inner = _labels(dataset.dataset)
        return None if inner is None else inner[torch.as_tensor(list(dataset.indices))]
    if isinstance(dataset, TensorDataset):  # of several columns of labels nothing here tells which ones are meant
        columns = [column for tensor in dataset.tensors[1:] if (column := _integers(tensor)) is not None]
        return columns[0] if len(columns) == 1 else None
    found = (getattr(dataset, name, None) for name in ATTRIBUTES)
    labels = next((_integers(values) for values in found if values is not None), None)
    return labels if labels is not None and len(labels) == len(dataset) else None


def _integers(values: Any) -> Tensor | None:
    """A one-dimensional integer tensor, or None."""
    tensor = values if isinstance(values, Tensor) else torch.as_tensor(values)
    integer = not tensor.is_floating_point() and not tensor.is_complex() and tensor.dtype != torch.bool
    return tensor.detach().cpu().long() if tensor.dim() == 1 and integer else None
