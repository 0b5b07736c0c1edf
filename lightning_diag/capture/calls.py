"""What is known of each loss function that a step may call: where it is looked up, and what its arguments mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

SAMPLE = 4096
"""Values of a tensor that are copied to notice that it was overwritten later."""

REDUCTIONS = ("none", "mean", "sum")


@dataclass(frozen=True, slots=True)
class LossEntry:
    """One entry point that the Python loss functions look up at call time.

    Attributes:
        name: public name of the loss, as shown in reports.
        owner: module that holds the entry point, dotted.
        attribute: its name there.
        parameters: names of its positional parameters, in order. The first two are prediction and target.
        kind: what the predictions are (see ``observation.KINDS``).
        family: how to read the pair: ``class``, ``element``, ``ctc``, ``divergence`` or ``value``.
    """

    name: str
    owner: str
    attribute: str
    parameters: tuple[str, ...]
    kind: str
    family: str


_CLASS = ("input", "target", "weight", "reduction", "ignore_index")
_VALUE = ("input", "target", "reduction")
_NN = "torch._C._nn"

ENTRIES: tuple[LossEntry, ...] = (
    LossEntry("cross_entropy", _NN, "cross_entropy_loss", (*_CLASS, "label_smoothing"), "logits", "class"),
    LossEntry("nll_loss", _NN, "nll_loss_nd", _CLASS, "log_probs", "class"),
    LossEntry(
        "multi_margin_loss",
        _NN,
        "multi_margin_loss",
        ("input", "target", "p", "margin", "weight", "reduction"),
        "logits",
        "class",
    ),
    LossEntry(
        "binary_cross_entropy",
        _NN,
        "binary_cross_entropy",
        ("input", "target", "weight", "reduction"),
        "probs",
        "element",
    ),
    LossEntry(
        "binary_cross_entropy_with_logits",
        "torch",
        "binary_cross_entropy_with_logits",
        ("input", "target", "weight", "pos_weight", "reduction"),
        "logits",
        "element",
    ),
    LossEntry(
        "multilabel_soft_margin_loss",
        "torch.nn.functional",
        "multilabel_soft_margin_loss",
        ("input", "target", "weight", "size_average", "reduce", "reduction"),
        "logits",
        "element",
    ),
    LossEntry(
        "ctc_loss",
        "torch",
        "ctc_loss",
        ("input", "target", "input_lengths", "target_lengths", "blank", "reduction", "zero_infinity"),
        "log_probs",
        "ctc",
    ),
    LossEntry("kl_div", "torch", "kl_div", ("input", "target", "reduction", "log_target"), "log_probs", "divergence"),
    LossEntry("mse_loss", _NN, "mse_loss", _VALUE, "values", "value"),
    LossEntry("l1_loss", _NN, "l1_loss", _VALUE, "values", "value"),
    LossEntry("smooth_l1_loss", _NN, "smooth_l1_loss", _VALUE, "values", "value"),
    LossEntry("huber_loss", _NN, "huber_loss", _VALUE, "values", "value"),
    LossEntry(
        "poisson_nll_loss",
        "torch",
        "poisson_nll_loss",
        ("input", "target", "log_input", "full", "eps", "reduction"),
        "values",
        "value",
    ),
)
"""Private names of torch (2.6 to 2.13): each is checked to exist before it is patched, see :mod:`.interception`."""


class Gone:
    """What is known of a tensor that was let go."""

    __slots__ = ("_floating", "shape")

    def __init__(self, tensor: Tensor) -> None:
        self.shape, self._floating = tensor.shape, tensor.is_floating_point()

    def dim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def is_floating_point(self) -> bool:
        """Whether it held fractions."""
        return self._floating


@dataclass(slots=True)
class LossCall:
    """One recorded call. It holds the step's own tensors and lives no longer than the step.

    Attributes:
        entry: the loss function.
        preds, target: its first two arguments as given.
        args, kwargs: all arguments as given.
        result: what it returned.
        graph: whether gradients were being recorded at the call.
        versions: in-place counters of ``preds`` and ``target`` at the call; None in inference mode.
        sample: some values of ``preds`` at the call, while calibrating in inference mode; else None.
        name: what the user's code calls it, while calibrating; else empty.
        gone: whether the tensors were let go: only what tells the signature of the step is left.
    """

    entry: LossEntry
    preds: Tensor
    target: Tensor
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    result: Tensor
    graph: bool
    versions: tuple[int, int] | None
    name: str = ""
    sample: Tensor | None = None
    gone: bool = False

    def let_go(self) -> None:
        """Hold no tensor any longer."""
        self.preds, self.target = cast("Tensor", Gone(self.preds)), cast("Tensor", Gone(self.target))
        self.result, self.args, self.kwargs, self.gone = self.preds, (), {}, True

    @property
    def options(self) -> dict[str, Any]:
        """The arguments behind the first two by parameter name; named only when they are read."""
        named = dict(zip(self.entry.parameters[2:], self.args[2:], strict=False))
        named.update((name, value) for name, value in self.kwargs.items() if name not in self.entry.parameters[:2])
        return named


def read_call(entry: LossEntry, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: object) -> LossCall | None:
    """Keep a call; None when it holds no usable tensors."""
    if len(args) > 1:
        preds, target = args[0], args[1]
    else:
        named = {**dict(zip(entry.parameters, args, strict=False)), **kwargs}
        preds, target = (named.get(name) for name in entry.parameters[:2])
    if not (isinstance(preds, Tensor) and isinstance(target, Tensor) and isinstance(result, Tensor)):
        return None
    versions = None if preds.is_inference() or target.is_inference() else (preds._version, target._version)  # noqa: SLF001 the only counter of in-place changes that torch has
    return LossCall(entry, preds, target, args, kwargs, result, torch.is_grad_enabled(), versions)


def reduction_of(options: Mapping[str, Any]) -> str:
    """``none``, ``mean`` or ``sum`` from torch's enum or a public name."""
    value = options.get("reduction", 1)
    if isinstance(value, int):
        return REDUCTIONS[value] if 0 <= value < len(REDUCTIONS) else "mean"
    return str(value)


def sample_of(preds: Tensor) -> Tensor:
    """At most :data:`SAMPLE` values of the first row of ``preds``, evenly spaced: enough to notice a change of the whole."""
    row = preds.detach().select(0, 0).flatten() if preds.dim() else preds.detach().flatten()
    return row[:: max(1, -(-row.numel() // SAMPLE))]
