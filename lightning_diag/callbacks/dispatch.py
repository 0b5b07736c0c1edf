"""Calls the parts of an observer, and switches off a part that raises."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar

from lightning_diag.callbacks.messages import warn
from lightning_diag.callbacks.run import HOOKS, FailedEverywhere, Part, Run

_T = TypeVar("_T")


Hooks: TypeAlias = "dict[str, list[tuple[Part, Callable[..., bool | None]]]]"


class Dispatch:
    """The hooks of all parts of one fit, looked up once.

    An exception of a part never reaches the training: the part is switched off, with one warning and a note for the
    report. A part that answers a hook with False is not asked again before :meth:`wake`. Where several processes run, a
    part that makes collective calls goes on making them on this process, because the others would wait for it; see
    :meth:`Part.take_part`.
    """

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.run: Run | None = None
        self._hooks: Hooks = {name: [] for name in HOOKS}
        self._awake: Hooks = dict(self._hooks)

    def set_up(self, run: Run, parts: Sequence[Part]) -> None:
        """Take the parts of the coming fit and let them check what they were given.

        Raises:
            ConfigError: if settings cannot work.
        """
        from lightning_diag.errors import ConfigError

        self.run, self.parts = run, list(parts)
        for part in list(self.parts):
            try:
                part.set_up(run)
            except ConfigError:
                raise
            except Exception as error:  # noqa: BLE001  (an observer never ends a run)
                self.parts.remove(part)
                self.report(part.title, error)

    def start(self) -> None:
        """Look up which part listens to which hook."""
        self._hooks = {
            name: [(part, getattr(part, name)) for part in self.parts if _overrides(part, name)] for name in HOOKS
        }
        self.wake()

    def wake(self) -> None:
        """Ask all parts again, also those that rested: an epoch or a validation begins."""
        self._awake = dict(self._hooks)

    def stop(self) -> None:
        """Release everything; no part is called any more."""
        self.call("close")
        self._hooks = {name: [] for name in HOOKS}
        self.wake()

    def listeners(self, hook: str) -> int:
        """How many parts want to be told of ``hook`` now."""
        return len(self._awake[hook])

    def alone(self, hook: str, other: str) -> bool:
        """Whether of the parts that listen to ``hook`` one at most does not listen to ``other`` as well."""
        also = {part for part, _ in self._awake[other]}
        return sum(part not in also for part, _ in self._awake[hook]) <= 1

    def call(self, hook: str, *args: Any) -> None:
        """Tell all parts, in their order."""
        run = self.run
        if run is None:
            return
        for pair in self._awake[hook]:
            part, function = pair
            try:
                if function(run, *args) is False:
                    self._awake[hook] = [other for other in self._awake[hook] if other is not pair]
            except Exception as error:  # noqa: BLE001  (an observer never ends a run)
                self._switch_off(part, hook, error)

    def guarded(self, what: str, function: Callable[[], _T]) -> _T | None:
        """Call a function of the observer itself, under the same promise; None when it failed."""
        try:
            return function()
        except Exception as error:  # noqa: BLE001  (an observer never ends a run)
            self.report(what, error)
            return None

    def report(self, what: str, error: Exception) -> None:
        """One warning with the traceback, and a note for the report."""
        if self.run is not None:
            self.run.recorder.note(f"{what} failed and was switched off: {type(error).__name__}: {error}")
        warn(
            f"lightning_diag: {what} failed and was switched off; training goes on.\n"
            + "".join(traceback.format_exception(error))
        )

    def _switch_off(self, part: Part, hook: str, error: Exception) -> None:
        assert self.run is not None
        alone = self.run.processes == 1 or isinstance(error, FailedEverywhere)
        if not alone and hook in part.collective:  # the others wait for what this hook had still to send
            try:
                part.take_part(self.run, hook)
            except FailedEverywhere:
                alone = True
        for name in HOOKS:
            if name == "close":
                continue
            self._hooks[name] = [
                pair if pair[0] is not part else (part, partial(_stand_in, part, name))
                for pair in self._hooks[name]
                if pair[0] is not part or (name in part.collective and not alone)
            ]
        self.wake()
        self.report(f"{part.title} ({hook})", error)


def _stand_in(part: Part, hook: str, run: Run, *_: Any) -> None:
    part.take_part(run, hook)


def _overrides(part: Part, name: str) -> bool:
    return getattr(type(part), name) is not getattr(Part, name)
