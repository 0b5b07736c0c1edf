"""Forward hooks for the first steps: was a module used, and what were its statistics before training moved them?"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lightning_diag.checkpoints.names import STATISTICS


class Watch:
    """Watches a module until its parts are used.

    Every part that owns parameters or statistics carries a hook until its first forward in training: what is never
    used keeps a hook that never fires and costs nothing. Compiled modules get no hooks, because adding and removing
    them compiles again; then only gradients tell whether a module was used.

    Args:
        module: to be watched.
    """

    def __init__(self, module: nn.Module) -> None:
        self.fired: set[int] = set()
        self.statistics: dict[str, Tensor] = {}
        self._names: dict[int, str] = {}
        self._handles: dict[int, RemovableHandle] = {}
        self.active = not _is_compiled(module)
        for name, part in module.named_modules() if self.active else ():
            if any(True for _ in part.parameters(recurse=False)) or _own_statistics(part):
                self._names[id(part)] = name
                self._handles[id(part)] = part.register_forward_pre_hook(self._note)

    def _note(self, part: nn.Module, _inputs: Any) -> None:
        self.fired.add(id(part))
        if not part.training and _own_statistics(part):
            return  # statistics stand still until the first forward in training
        name = self._names.get(id(part), "")
        for leaf, buffer in _own_statistics(part).items():
            self.statistics[f"{name}.{leaf}" if name else leaf] = buffer.detach().clone()
        handle = self._handles.pop(id(part), None)
        if handle is not None:
            handle.remove()

    def used(self, root: nn.Module, part: nn.Module) -> bool | None:
        """Whether ``part`` took part in a forward or got a gradient; None when neither could be seen."""
        inside = {id(module) for module in part.modules()}
        if inside & self.fired or any(p.grad is not None for p in part.parameters()):
            return True
        watched = self.active and bool(inside & self._names.keys())
        seen = any(module is part for module in root.modules()) and (
            watched or any(p.requires_grad for p in part.parameters())
        )
        return False if seen else None

    def close(self) -> None:
        """Take all hooks away."""
        for handle in self._handles.values():
            handle.remove()
        self._handles.clear()


def _own_statistics(part: nn.Module) -> dict[str, Tensor]:
    return {name: buffer for name, buffer in part.named_buffers(recurse=False) if name in STATISTICS}


def _is_compiled(module: nn.Module) -> bool:
    optimized = getattr(torch._dynamo, "OptimizedModule", ()) if hasattr(torch, "_dynamo") else ()  # noqa: SLF001  (the only name)
    return any(
        isinstance(part, optimized) or getattr(part, "_compiled_call_impl", None) is not None
        for part in module.modules()
    )
