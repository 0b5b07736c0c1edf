"""How much of what passes through the parts of a module is held until the step ends."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING

from torch import Tensor

from lightning_diag.capture.batch import leaves
from lightning_diag.capture.values import storage

if TYPE_CHECKING:
    from lightning_diag.capture.taps import Visit

MOST_BYTES = 2**26
"""Memory (64 MiB) that is held of a step which would have freed it."""

LAST = 4
"""Of the latest inputs and outputs so many are held whatever their size: predictions are among the last."""


class Holding:
    """Lets go of the oldest inputs and outputs of a step once they are more than :data:`MOST_BYTES`.

    A step without gradients, or with recomputed activations, frees each activation as it goes; were all held until its
    end, a network that just fits would no longer. What something else keeps alive (the graph, a loss call, the step's
    result) is found again at the end of the step.
    """

    def __init__(self) -> None:
        self._free: set[int] = set()
        self._held: dict[int, int] = {}
        self._total = 0
        self._users: dict[int, list[Visit]] = {}
        self._gone: list[tuple[Visit, str, object]] = []
        self._begun = False

    def begin(self, batch: Iterable[Tensor]) -> None:
        """A step begins; its batch lives as long as it does anyway."""
        self._clear()
        self._free = {storage(tensor) for tensor in batch}

    def add(self, visit: Visit) -> None:
        """Hold a pass; and let go of what came before it, where that is too much."""
        given = list(leaves((visit.args, visit.kwargs)).values())
        if not self._begun:  # what the network is fed with: the batch, or the like of it
            self._begun = True
            self._free |= {storage(tensor) for tensor in given}
        for tensor in (*given, *leaves(visit.output).values()):
            memory = storage(tensor)
            if memory not in self._free:
                if memory not in self._held:
                    self._held[memory] = _bytes(tensor)
                    self._total += self._held[memory]
                self._users.setdefault(memory, []).append(visit)
        while len(self._held) > LAST and self._total > MOST_BYTES:
            self._let_go(next(iter(self._held)))

    def end(self) -> None:
        """The step is over: look what of it still lives."""
        for visit, name, found in self._gone:
            if name == "output":
                visit.output = _alive(found)
            else:
                visit.args = tuple(map(_alive, found)) if isinstance(found, tuple) else ()
        self._clear()

    def _clear(self) -> None:
        self._free, self._held, self._users, self._gone = set(), {}, {}, []
        self._total, self._begun = 0, False

    def _let_go(self, memory: int) -> None:
        self._total -= self._held.pop(memory)
        for visit in self._users.pop(memory):
            if _holds(visit.output, memory):
                self._gone.append((visit, "output", _weak(visit.output)))
                visit.output = None
            if _holds((visit.args, visit.kwargs), memory):
                self._gone.append((visit, "args", tuple(map(_weak, visit.args))))
                visit.args, visit.kwargs = (), {}


def _weak(value: object) -> object:
    return weakref.ref(value) if isinstance(value, Tensor) else None


def _alive(found: object) -> object:
    return found() if isinstance(found, weakref.ref) else None


def _holds(root: object, memory: int) -> bool:
    return any(storage(tensor) == memory for tensor in leaves(root).values())


def _bytes(tensor: Tensor) -> int:
    try:
        return tensor.untyped_storage().nbytes()
    except (RuntimeError, NotImplementedError):
        return tensor.numel() * tensor.element_size()
