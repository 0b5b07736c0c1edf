"""The Trainer's loaders, whatever they are wrapped in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch.utils.data.distributed import DistributedSampler

from lightning_diag.metrics.padding import Padding


def loaders(collection: Any) -> list[Any]:
    """The loaders of a collection (one loader, list, dict, ``CombinedLoader``), in order."""
    collection = getattr(collection, "iterables", collection)
    if isinstance(collection, Mapping):
        collection = list(collection.values())
    if collection is None:
        return []
    return list(collection) if isinstance(collection, (list, tuple)) else [collection]


def first_loader(collection: Any) -> Any:
    """The first loader of a collection, or None."""
    return next(iter(loaders(collection)), None)


def padding(loader: Any) -> Padding | None:
    """What a distributed sampler appends for this rank; None where nothing is repeated.

    :class:`DistributedSampler` makes the ranks even by repeating samples, which moves single-digit validation sets. The
    repeats come last: rank r of R holds samples r, r + R, ... of the set.
    """
    sampler = getattr(loader, "sampler", None)
    if not isinstance(sampler, DistributedSampler) or sampler.drop_last:
        return None
    real = len(range(sampler.rank, len(sampler.dataset), sampler.num_replicas))  # type: ignore[arg-type]  # a sized set
    drawn = sampler.num_samples
    return Padding(real=real, drawn=drawn, batch_size=getattr(loader, "batch_size", None)) if drawn > real else None


def places(loader: Any) -> Callable[[int], int]:
    """From the place of a sample in this process's order to that in the data set, where a distributed sampler deals in turn."""
    sampler = getattr(loader, "sampler", None)
    if not isinstance(sampler, DistributedSampler) or sampler.shuffle:
        return int
    return lambda at: at * sampler.num_replicas + sampler.rank
