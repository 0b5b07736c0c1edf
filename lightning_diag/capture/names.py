"""What the user's own code calls a prediction: the loss module's attribute, or the local variable."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import FrameType

from torch import Tensor, nn

MAX_FRAMES = 30
_TORCH_PREFIXES = ("torch.nn.functional", "torch.overrides", "torch._")
_VAGUE = frozenset(
    [
        "input",
        "inputs",
        "x",
        "self",
        "output",
        "outputs",
        "out",
        "pred",
        "preds",
        "prediction",
        "predictions",
        "logits",
        "logit",
        "y_hat",
        "yhat",
        "y_pred",
    ]
)
"""Variable names that tell no head from another."""


def head_name(preds: Tensor, modules: Mapping[int, str]) -> str:
    """A name for the head whose loss is being computed on this thread right now.

    Args:
        preds: first argument of the loss call.
        modules: dotted names of the module's submodules by ``id``.

    Returns:
        The attribute of the loss module that made the call, else the local variable (or key) that holds ``preds`` in
        the caller, else an empty string.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 inspect.currentframe is the same call with a different name
    attribute = ""
    for _ in range(MAX_FRAMES):
        if frame is None:
            break
        module = frame.f_globals.get("__name__", "")
        if module.startswith("lightning_diag.capture") or module.startswith(_TORCH_PREFIXES):
            frame = frame.f_back
            continue
        owner = frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and id(owner) in modules and not attribute:
            attribute = modules[id(owner)]
        if not module.startswith("torch."):
            return _informative(_variable(frame, preds)) or attribute or _variable(frame, preds)
        frame = frame.f_back
    return attribute


def _informative(name: str) -> str:
    return "" if name.lower() in _VAGUE else name


def _variable(frame: FrameType, preds: Tensor) -> str:
    """The local variable, or the key of a local mapping, that holds ``preds``."""
    for name, value in list(frame.f_locals.items()):
        if value is preds:
            return name
    for name, value in list(frame.f_locals.items()):
        if isinstance(value, Mapping):
            for key, entry in list(value.items()):
                if entry is preds:
                    return f"{name}[{key!r}]"
    return ""


def module_names(module: nn.Module) -> dict[int, str]:
    """Dotted name of every submodule by ``id``, without the module itself."""
    return {id(part): name for name, part in module.named_modules() if name}
