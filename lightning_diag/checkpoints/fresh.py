"""Does a network look as if it had never been trained?

Of all signals tried on 43 architectures two held up: the affine weights of norm layers are all constant (exactly 1, 0,
or 0 at the end of a residual branch) and the counters of batch norms are 0. The distribution of the weights does not: trained
residual networks still pass for fresh, and networks with unusual initialisations do not.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lightning_diag.checkpoints.content import is_constant
from lightning_diag.checkpoints.names import parent
from lightning_diag.checkpoints.samples import take_samples


def looks_fresh(state: Mapping[str, Tensor], *, statistics: bool = True) -> bool | None:
    """True when every norm layer is at its initial value, False when one is not, None when there is none.

    A norm layer is recognised by its weight: a vector of two elements or more called ``weight`` (all other layers have
    matrices), or by running statistics.

    Args:
        state: tensors by name, buffers included.
        statistics: also look at batch-norm statistics (they move in the first training forward, so not after it).
    """
    affine, running = _affine(state), _running(state) if statistics else {}
    if not affine and not running:
        return None
    values = take_samples({**affine, **running})
    constant = all(is_constant(values[name]) for name in affine)
    return constant and all(_at_start(name, values[name]) for name in running)


def _affine(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    norms = [parent(n) for n, t in state.items() if n.endswith("weight") and t.dim() == 1 and t.numel() > 1]
    names = [f"{owner}.{leaf}" if owner else leaf for owner in norms for leaf in ("weight", "bias")]
    return {name: state[name] for name in names if name in state and state[name].is_floating_point()}


def _running(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    leaves = ("running_mean", "running_var", "num_batches_tracked")
    return {name: t for name, t in state.items() if name.rpartition(".")[2] in leaves and t.numel() > 0}


def _at_start(name: str, values: Tensor) -> bool:
    start = 1.0 if name.endswith("running_var") else 0.0
    return bool((values == start).all())
