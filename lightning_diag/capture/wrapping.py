"""Stand-ins for methods, placed on an instance and removed without a trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch import nn


def _same(value: Any) -> Any:
    return value


class StandIn:
    """Takes the place of ``owner.<name>`` in the instance's own attributes.

    Copies and pickles of the owner get its own method back, never the stand-in: it reduces to what it stands for.
    ``__wrapped__`` shows Lightning's signature checks the same function as before.
    """

    def __init__(self, owner: nn.Module, name: str) -> None:
        self.original: Callable[..., Any] = getattr(owner, name)
        self.__wrapped__ = getattr(self.original, "__wrapped__", self.original)
        self.__name__ = name
        self.__doc__ = getattr(self.original, "__doc__", None)
        self._owner = owner
        self._own = owner.__dict__.get(name)

    def __reduce__(self) -> tuple[Any, ...]:
        if self._own is not None:
            return _same, (self._own,)
        return getattr, (self._owner, self.__name__)

    @property
    def fits(self) -> bool:
        """Whether the owner's method is still the one that this stands for."""
        return self._owner.__dict__.get(self.__name__) is self._own

    def install(self) -> None:
        """Put it in place."""
        self._owner.__dict__[self.__name__] = self

    def remove(self) -> None:
        """Take it out again; whoever replaced it meanwhile is left alone."""
        if self._owner.__dict__.get(self.__name__) is not self:
            return
        if self._own is None:
            del self._owner.__dict__[self.__name__]
        else:
            self._owner.__dict__[self.__name__] = self._own


UNSEEN, RESULT, OBSERVED = range(3)
"""How a step runs: unobserved, with a look at what it returned, or with listeners."""


class Around(Protocol):
    """What is done around a step. None of these may raise."""

    def enter(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
        """Before the step ``name`` is called with ``args`` and ``kwargs``: how it runs."""

    def leave(self, *, done: bool) -> None:
        """Right after an observed step; ``done`` is False when it raised."""

    def digest(self, result: object) -> None:
        """After a step that returned ``result`` and did not run unseen."""


class StepWrapper(StandIn):
    """A step method with something done before and after it.

    While the step runs the module has its own method back: what the step, a compiler or Lightning's logging looks up
    on the module is what it always was.
    """

    def __init__(self, owner: nn.Module, name: str, around: Around) -> None:
        super().__init__(owner, name)
        self._around = around

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the user's step, observed or not; its result and its exceptions are its own."""
        self.remove()
        how = self._around.enter(self.__name__, args, kwargs)
        done = False
        try:
            result = self.original(*args, **kwargs)
            done = True
        finally:
            if how == OBSERVED:
                self._around.leave(done=done)
            if self.fits:
                self.install()
        if how:
            self._around.digest(result)
        return result


class CallWrapper(StandIn):
    """A method whose calls are shown to ``seen`` (args, kwargs, output), which must not raise."""

    def __init__(
        self, owner: nn.Module, name: str, seen: Callable[[tuple[Any, ...], dict[str, Any], object], None]
    ) -> None:
        super().__init__(owner, name)
        self._seen = seen

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the original; its result and its exceptions are its own."""
        output = self.original(*args, **kwargs)
        self._seen(args, kwargs, output)
        return output


def is_compiled(module: nn.Module, steps: Sequence[str]) -> bool:
    """Whether the steps themselves were compiled (``torch.compile(module)``)."""
    if module.__dict__.get("_compiler_ctx"):
        return True
    return any(hasattr(getattr(module, name, None), "_torchdynamo_orig_callable") for name in steps)
