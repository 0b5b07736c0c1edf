"""Taps: what passes through chosen modules, metrics and the module's own ``forward`` while a step runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from lightning_diag.capture.calls import sample_of
from lightning_diag.capture.holding import Holding
from lightning_diag.capture.values import readable, same
from lightning_diag.capture.wrapping import CallWrapper

LOSS_LIKE = re.compile(r"loss|criter|objective", re.IGNORECASE)
FORWARD = ""
"""Name of the tap on the module's own ``forward``."""


@dataclass(slots=True)
class Visit:
    """One pass through a tapped module. Lives no longer than the step; of a large step part of it less (:mod:`.holding`).

    Attributes:
        name: dotted name of the submodule; empty for the module's own ``forward``.
        role: ``module``, ``loss``, ``metric`` or ``forward``.
        args, kwargs: as passed.
        output: what came back.
        turn: how many passes through the same module came before, in this step.
        sample: some values of the output while calibrating, to notice that it was overwritten later.
    """

    name: str
    role: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: object
    turn: int = 0
    sample: Tensor | None = None

    @property
    def overwritten(self) -> bool:
        """Whether the output was changed in place after the pass; unknown counts as no."""
        output = self.output
        return self.sample is not None and isinstance(output, Tensor) and not same(self.sample, sample_of(output))


@dataclass(slots=True)
class Tapper:
    """Installs taps for the length of a step and keeps what passes.

    Attributes:
        module: the module whose parts are tapped.
        visits: passes of the current step, in order.
        limit: passes kept at most.
        fault: first error of our own.
        close: whether outputs are watched for changes in place (while calibrating).
    """

    module: nn.Module
    limit: int = 4096
    visits: list[Visit] = field(default_factory=list)
    fault: Exception | None = None
    close: bool = False
    _holding: Holding = field(default_factory=Holding)
    _undo: list[Callable[[], None]] = field(default_factory=list)
    _turns: dict[str, int] = field(default_factory=dict)
    _found: dict[frozenset[str], list[tuple[str, nn.Module]]] = field(default_factory=dict)
    _wrappers: dict[str, CallWrapper] = field(default_factory=dict)

    def enter(self, batch: Iterable[Tensor]) -> None:
        """Tap every part, for a step with ``batch`` that is looked at closely."""
        self.visits, self._turns, self.close = [], {}, True
        self._holding.begin(batch)
        for name, part in parts(self.module):
            self._undo.append(self._tap(name, part))

    def enter_named(self, names: frozenset[str]) -> None:
        """Tap the parts called ``names``, for a step of the steady state."""
        self._turns, self.close = {}, False
        for name, part in self._named(names):
            wrapper = self._wrapper(name, part)
            wrapper.install()
            self._undo.append(wrapper.remove)

    def leave(self) -> None:
        """Remove all taps."""
        while self._undo:
            self._undo.pop()()
        self._holding.end()

    def clear(self) -> None:
        """Drop all references to tensors."""
        if self.visits:
            self.visits = []

    def reset(self) -> None:
        """Forget where the parts are: the module may have got others."""
        self._found, self._wrappers = {}, {}

    def _named(self, names: frozenset[str]) -> list[tuple[str, nn.Module]]:
        if names not in self._found:
            self._found[names] = [(name, part) for name, part in parts(self.module) if name in names]
        return self._found[names]

    def _tap(self, name: str, part: nn.Module) -> Callable[[], None]:
        if part is self.module or isinstance(part, Metric):
            wrapper = self._wrapper(name, part)
            wrapper.install()
            return wrapper.remove
        return part.register_forward_hook(_Hook(self, name, role_of(name, part)), with_kwargs=True).remove

    def _wrapper(self, name: str, part: nn.Module) -> CallWrapper:
        """A stand-in for the one method of ``part`` that is called; made anew when somebody replaced the method."""
        known = self._wrappers.get(name)
        if known is not None and known.fits:
            return known
        role = "forward" if part is self.module else role_of(name, part)
        method = "update" if role == "metric" else "forward"
        wrapper = CallWrapper(part, method, lambda *seen: self._keep(name, role, *seen))
        self._wrappers[name] = wrapper
        return wrapper

    def _keep(self, name: str, role: str, args: tuple[Any, ...], kwargs: dict[str, Any], output: object) -> None:
        try:
            if len(self.visits) < self.limit and not torch.compiler.is_compiling():
                turn = self._turns.get(name, 0)
                self._turns[name] = turn + 1
                visit = Visit(name, role, args, kwargs, output, turn)
                if self.close and isinstance(output, Tensor) and readable(output):
                    visit.sample = sample_of(output).clone()
                self.visits.append(visit)
                if self.close:
                    self._holding.add(visit)
        except Exception as fault:  # noqa: BLE001 an observer's error must not reach the user's step
            self.fault = self.fault or fault


class _Hook:
    """A forward hook that copies and pickles as one that does nothing."""

    def __init__(self, tapper: Tapper | None = None, name: str = "", role: str = "") -> None:
        self._tapper, self._name, self._role = tapper, name, role

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: object) -> None:
        """Keep the pass; the output is not changed."""
        del module
        if self._tapper is not None:
            self._tapper._keep(self._name, self._role, args, kwargs, output)  # noqa: SLF001 one unit in two classes

    def __reduce__(self) -> tuple[Any, ...]:
        return _Hook, ()


def parts(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The module and its submodules by dotted name, without the inside of what is compiled or scripted."""
    todo: list[tuple[str, nn.Module]] = [(FORWARD, module)]
    seen: set[int] = set()
    while todo:
        name, part = todo.pop(0)
        if id(part) in seen or _sealed(part):
            continue
        seen.add(id(part))
        yield name, part
        if hasattr(part, "_orig_mod"):
            continue
        todo += [(f"{name}.{key}" if name else key, child) for key, child in part.named_children()]


def _sealed(part: nn.Module) -> bool:
    """Compiled in place or scripted: a hook would be compiled too, or never called."""
    return getattr(part, "_compiled_call_impl", None) is not None or isinstance(part, torch.jit.ScriptModule)


def role_of(name: str, part: nn.Module) -> str:
    """``metric``, ``loss`` or ``module``: by type and by the names of class and attribute."""
    if isinstance(part, Metric):
        return "metric"
    own = name.rpartition(".")[2]
    return "loss" if LOSS_LIKE.search(type(part).__name__) or LOSS_LIKE.search(own) else "module"


def scripted(module: nn.Module) -> str:
    """A note when a loss of ``module`` is compiled by TorchScript, so that its calls cannot be seen; else empty."""
    named: list[tuple[str, object]] = [
        (n, p) for n, p in module.named_modules() if isinstance(p, torch.jit.ScriptModule)
    ]
    named += [(name, part) for name, part in vars(module).items() if isinstance(part, torch.jit.ScriptFunction)]
    losses = [name for name, part in named if LOSS_LIKE.search(f"{name} {getattr(part, 'original_name', '')}")]
    return f"{losses[0]} is compiled by TorchScript: its calls cannot be seen" if losses else ""
