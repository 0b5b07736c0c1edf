"""Leave a module and the random state exactly as they were."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

MOST_BUFFER_BYTES = 2**28
"""Modules with larger buffers are not run outside their steps: the copy would cost more than the answer is worth."""


def buffer_bytes(module: nn.Module) -> int:
    """Size of all buffers."""
    return sum(b.numel() * b.element_size() for b in module.buffers())


@contextmanager
def kept_as_it_is(module: nn.Module) -> Iterator[None]:
    """Restore training flags, buffers and random states (Python, numpy, torch, the module's GPU) afterwards.

    What a module stores in plain attributes while it runs cannot be known and is not restored.

    Args:
        module: run inside the block without gradients.
    """
    flags = [(m, m.training) for m in module.modules()]
    buffers = [(m, name, b, b.clone()) for m in module.modules() for name, b in m._buffers.items() if b is not None]  # noqa: SLF001  (named_buffers hides the owner)
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002  (the user's global state)
    gpus = sorted({p.device.index or 0 for p in module.parameters() if p.is_cuda})
    try:
        with torch.random.fork_rng(devices=gpus), torch.no_grad():
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002  (see above)
        for m, training in flags:
            m.training = training
        _restore(buffers)


def _restore(buffers: list[tuple[nn.Module, str, Tensor, Tensor]]) -> None:
    with torch.no_grad():
        for owner, name, buffer, copy in buffers:
            if owner._buffers.get(name) is not buffer:  # noqa: SLF001  (as above)
                owner._buffers[name] = buffer  # noqa: SLF001  (as above)
            if not torch.equal(buffer, copy):
                buffer.copy_(copy)
