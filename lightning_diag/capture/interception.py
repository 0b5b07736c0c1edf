"""Interception of the loss calls of a step: by patched entry points, or by a torch-function mode.

The Python loss functions of torch look their kernels up at call time (``torch._C._nn.cross_entropy_loss`` and others,
see :mod:`.calls`). Replacing those names for the length of a step sees every call, also of functions that were bound
early (``self.loss_fn = F.cross_entropy``). A :class:`torch.overrides.TorchFunctionMode` sees the same calls and those
of a wholly compiled module, but costs on every torch function of the step, so it is used only where needed.
"""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable, Container, Mapping
from dataclasses import replace
from threading import get_ident
from types import ModuleType
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode

from lightning_diag.capture import values
from lightning_diag.capture.calls import ENTRIES, LossCall, LossEntry, read_call, sample_of
from lightning_diag.capture.names import head_name

MAX_CALLS = 64
"""Calls kept of any step."""
MOST_CALLS = 1024
MOST_SCORES = 2**24
"""Beyond that, calls and scores (64 MiB in float32): a decoder loop fits, an endless one cannot fill the memory."""
HELD_SCORES = 2**26
"""Scores (256 MiB in float32) from which on the calls of a loop are let go: one in chunks was written to save memory."""
HELD_CALLS = 8
"""Calls that are held whatever their size while calibrating: there are not as many heads as that."""


class CallLog:
    """The loss calls of the current step, of the thread that runs it.

    Attributes:
        calls: recorded calls in order, at most :data:`MAX_CALLS`, or :data:`MOST_CALLS` small ones.
        dropped: calls beyond that, and those of a loop that are too large to be held.
        fault: first error of our own while recording, kept for the report; the step never sees it.
        traced: calls seen only while a compiler traced them (their tensors hold no data).
        modules: names of the submodules by ``id``, to name heads while calibrating; None in the steady state.
        copying: whether predictions are copied at the call, for a step that overwrites them later.
        needed: which calls are read, where the others are let go at once; None where all may be, within a bound.
        least: calls that are held whatever that bound.
    """

    __slots__ = ("_scores", "_thread", "calls", "copying", "dropped", "fault", "least", "modules", "needed", "traced")

    def __init__(self) -> None:
        self.calls: list[LossCall] = []
        self.dropped = 0
        self.fault: Exception | None = None
        self.traced = 0
        self.modules: Mapping[int, str] | None = None
        self.copying = False
        self.needed: Container[int] | None = None
        self.least = HELD_CALLS
        self._thread = self._scores = 0

    def open(
        self,
        modules: Mapping[int, str] | None = None,
        *,
        copying: bool = False,
        needed: Container[int] | None = None,
        least: int = HELD_CALLS,
    ) -> None:
        """Begin a step on this thread; see the attributes."""
        self.dropped = self.traced = self._scores = 0
        self.modules, self.copying, self.needed = modules, copying, needed
        self.least = least
        self._thread = get_ident()

    def clear(self) -> None:
        """Drop all references to tensors."""
        if self.calls:
            self.calls = []

    def record(self, entry: LossEntry, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: object) -> None:
        """Keep one call; never raises."""
        try:
            if get_ident() != self._thread or _elsewhere():
                return
            if isinstance(result, FakeTensor):
                self.traced += 1
            else:
                call = read_call(entry, args, kwargs, result)
                if call is not None:
                    if len(self.calls) >= MAX_CALLS and self._is_full(call):
                        self.dropped += 1
                        return
                    if self._lets_go(call):
                        call.let_go()
                    elif self.modules is not None or self.copying:
                        self._look_closer(call)
                    self.calls.append(call)
        except Exception as fault:  # noqa: BLE001 an observer's error must not reach the user's step
            self.fault = self.fault or fault

    def _is_full(self, call: LossCall) -> bool:
        return len(self.calls) >= MOST_CALLS or len(self.calls) * call.preds.numel() > MOST_SCORES

    def _lets_go(self, call: LossCall) -> bool:
        """Whether nobody will read the tensors of this call, or it is one of too many to be held."""
        at = len(self.calls)
        if self.needed is not None:
            return at not in self.needed
        if at >= self.least and self._scores > HELD_SCORES:
            self.dropped += 1
            return True
        self._scores += call.preds.numel()
        return False

    def _look_closer(self, call: LossCall) -> None:
        if self.modules is not None:
            call.name = head_name(call.preds, self.modules)
            if call.versions is None and values.readable(call.preds):
                call.sample = sample_of(call.preds).clone()
        if self.copying:
            call.preds = call.preds.clone()
            call.versions = None


def _elsewhere() -> bool:
    """Whether we are inside a trace, a functional transform or a backward pass (recomputed checkpoints)."""
    return (
        torch._C._get_tracing_state() is not None  # noqa: SLF001 the public is_tracing() is ten times slower
        or torch._C._functorch.peek_interpreter_stack() is not None  # noqa: SLF001 no public test for vmap/grad wrappers
        or torch._C._current_graph_task_id() != -1  # noqa: SLF001 no public test for "in backward"
    )


Slot: TypeAlias = "tuple[ModuleType, str, Any, Any, str]"
"""(owner, attribute, torch's function, observed function, name of the loss)."""

_ACTIVE: list[CallLog] = []
"""Logs of the steps that run at the moment; torch's names are replaced while there is one."""
_LEFT: list[Slot] = []
"""Names that a step could not give back, because one of another thread still ran; the last to leave does it."""


def _observed(real: Callable[..., Any], entry: LossEntry) -> Callable[..., Any]:
    """The entry point ``real`` with its calls recorded; what it returns and raises is untouched."""

    def call(*args: Any, **kwargs: Any) -> Any:
        result = real(*args, **kwargs)
        for log in _ACTIVE:
            log.record(entry, args, kwargs, result)
        return result

    return call


@functools.cache
def _slots() -> tuple[tuple[Slot, ...], tuple[str, ...]]:
    """Each entry point, and the names that torch lacks."""
    found: list[Slot] = []
    missing: list[str] = []
    for entry in ENTRIES:
        owner = operator.attrgetter(entry.owner.partition(".")[2])(torch) if "." in entry.owner else torch
        real = getattr(owner, entry.attribute, None)
        if real is None:
            missing.append(f"{entry.owner}.{entry.attribute}")
        else:
            found.append((owner, entry.attribute, real, _observed(real, entry), entry.name))
    return tuple(found), tuple(missing)


@functools.cache
def _slots_of(names: frozenset[str] | None) -> tuple[Slot, ...]:
    """The entry points of the losses called ``names``; of all for None."""
    return tuple(slot for slot in _slots()[0] if names is None or slot[-1] in names)


class Patch:
    """Replaces the entry points of :data:`~.calls.ENTRIES` between :meth:`enter` and :meth:`leave`."""

    __slots__ = ("_log", "_placed", "missing")

    def __init__(self, log: CallLog) -> None:
        self._log = log
        self._placed: tuple[Slot, ...] = ()
        self.missing = _slots()[1]

    def enter(self, names: frozenset[str] | None = None) -> None:
        """Install the observed entry points, but over nobody else's replacement.

        Args:
            names: losses to observe, for steps that are known to call no other; None observes all.
        """
        _ACTIVE.append(self._log)
        self._placed = _slots_of(names)
        for owner, name, real, observed, _ in self._placed:
            if getattr(owner, name) is real:
                setattr(owner, name, observed)

    def leave(self) -> None:
        """Put torch's own entry points back."""
        _ACTIVE.remove(self._log)
        if _ACTIVE:
            _LEFT.extend(self._placed)
            return
        for owner, name, real, observed, _ in (*self._placed, *_LEFT):
            if getattr(owner, name) is observed:
                setattr(owner, name, real)
        _LEFT.clear()


def _public(entry: LossEntry) -> tuple[Any, LossEntry]:
    """The public function of ``entry`` with the parameter names of its own signature."""
    function = getattr(F, entry.name)
    names = {"log_probs": "input", "targets": "target"}
    parameters = tuple(names.get(name, name) for name in inspect.signature(function).parameters)
    return function, replace(entry, parameters=parameters)


PUBLIC: Mapping[Any, LossEntry] = dict(_public(entry) for entry in ENTRIES)
"""The same losses as the user calls them: what the mode sees."""


class Mode(TorchFunctionMode):
    """Sees the public loss functions, also inside a compiled module.

    The handler is kept so plain that ``torch.compile`` traces through it without a break in the graph.
    """

    def __init__(self, log: CallLog) -> None:
        super().__init__()
        self._log = log
        self._seen: list[tuple[Any, Any, Any, Any]] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call ``func`` as it would have been called; keep the call when it is a loss."""
        result = func(*args, **(kwargs or {}))
        if func in PUBLIC:
            self._seen.append((func, args, kwargs or {}, result))
        return result

    def enter(self) -> None:
        """Push the mode for the length of the step."""
        self._seen = []
        self.__enter__()  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def leave(self) -> None:
        """Pop the mode and hand its calls to the log."""
        self.__exit__(None, None, None)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        seen, self._seen = self._seen, []
        for func, args, kwargs, result in seen:
            self._log.record(PUBLIC[func], args, kwargs, result)
