"""What listens while a step runs: for its loss calls, for what passes through parts, for what meets the labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from lightning_diag.capture.batch import Path
from lightning_diag.capture.interception import HELD_CALLS, MOST_CALLS, CallLog, Mode, Patch
from lightning_diag.capture.names import module_names
from lightning_diag.capture.stage import Stage
from lightning_diag.capture.taps import Tapper
from lightning_diag.capture.usage import Usage

ALL = range(MOST_CALLS)
"""The calls that an extractor may ask for."""


class Recording:
    """Installs the listeners that a stage needs for one step; what they heard is dropped by :meth:`clear`.

    Args:
        module: whose steps run.
        compiled: whether the steps themselves are compiled: then only the torch-function mode hears anything.

    Attributes:
        log: the loss calls; tapper: the passes through parts; usage: what the labels met, where that was watched.
        undo: what takes the listeners out again, the last first.
    """

    def __init__(self, module: nn.Module, *, compiled: bool) -> None:
        self.log, self.tapper = CallLog(), Tapper(module)
        self.usage: Usage | None = None
        self.undo: list[Callable[[], None]] = []
        self._module, self._compiled = module, compiled
        self._patch, self._mode = Patch(self.log), Mode(self.log)

    def arm(self, state: Stage, leaves: Mapping[Path, Tensor]) -> None:
        """Listen to a step of ``state`` whose batch has the tensors ``leaves``."""
        if state.steady is not None:
            self.log.open(needed=state.choices.needed)
            self._listen(state, state.losses())
            return
        if state.ended:
            return
        plain = state.extractor is not None  # only the loss calls are wanted
        close = state.calibrating and not self._compiled and not plain
        needed = None if close else ALL if plain else state.choices.needed
        least = HELD_CALLS if state.calibrating or not state.choices.known else 1
        names = module_names(self._module) if close else None
        self.log.open(names, copying=state.copying, needed=needed, least=least)
        if close:
            self.undo.append(self.tapper.leave)
            self.tapper.enter(leaves.values())
        elif state.plan is not None and state.plan.parts:
            self.undo.append(self.tapper.leave)
            self.tapper.enter_named(state.plan.parts)
        if close or state.plan is None:
            self._listen(state, None if close else state.losses())
        self.usage = None
        if close and state.watching:
            self.usage = Usage(leaves.values())
            self.usage.enter()
            self.undo.append(self.usage.leave)

    def _listen(self, state: Stage, losses: frozenset[str] | None) -> None:
        if self._compiled or state.mode or self._patch.missing:
            self._mode.enter()
            self.undo.append(self._mode.leave)
        else:
            self.undo.append(self._patch.leave)
            self._patch.enter(losses)

    def take_fault(self) -> Exception | None:
        """The first error of our own while listening, once."""
        fault = self.log.fault or self.tapper.fault
        self.log.fault = self.tapper.fault = None
        return fault

    def clear(self) -> None:
        """Drop all references to tensors of the step."""
        self.usage = None
        self.log.clear()
        self.tapper.clear()
