"""A step method with something done before and after it, placed on the instance and removed without a trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import nn


class Around(Protocol):
    """What is done around a step. None of these may raise."""

    def enter(self, name: str) -> bool:
        """Before the step ``name``; False lets the step run unobserved."""

    def leave(self) -> None:
        """Right after the step, also when it raised."""

    def digest(self, result: object) -> None:
        """After a step that returned ``result``."""


def _same(value: Any) -> Any:
    return value


class StepWrapper:
    """Stands in for ``module.<name>`` while a fit is observed.

    Copies and pickles of the module get the user's own method back, never the wrapper: it reduces to the method that
    it wraps. ``__wrapped__`` shows Lightning's signature checks the same function as before.
    """

    def __init__(self, module: nn.Module, name: str, around: Around) -> None:
        self.original: Callable[..., Any] = getattr(module, name)
        self.__wrapped__ = getattr(self.original, "__wrapped__", self.original)
        self.__name__ = name
        self.__doc__ = getattr(self.original, "__doc__", None)
        self._module = module
        self._own = module.__dict__.get(name)
        self._around = around

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the user's step, observed or not; its result and its exceptions are its own."""
        if not self._around.enter(self.__name__):
            return self.original(*args, **kwargs)
        try:
            result = self.original(*args, **kwargs)
        finally:
            self._around.leave()
        self._around.digest(result)
        return result

    def __reduce__(self) -> tuple[Any, ...]:
        if self._own is not None:
            return _same, (self._own,)
        return getattr, (self._module, self.__name__)

    def install(self) -> None:
        """Put the wrapper into the instance's own attributes."""
        self._module.__dict__[self.__name__] = self

    def remove(self) -> None:
        """Take it out again; whoever wrapped it meanwhile is left alone."""
        if self._module.__dict__.get(self.__name__) is not self:
            return
        if self._own is not None:
            self._module.__dict__[self.__name__] = self._own
        else:
            del self._module.__dict__[self.__name__]
