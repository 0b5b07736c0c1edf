"""The promise of an observer: nothing of its own ends a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lightning_diag.callbacks.messages import warn


@contextmanager
def never_ends_a_run(who: str, afterwards: Callable[[], None]) -> Iterator[None]:
    """Turn an exception of ``who`` into one warning, and call ``afterwards`` to release what it holds.

    ``MisconfigurationException`` passes: it is raised before training, for settings that cannot work.
    """
    try:
        yield
    except Exception as error:  # an observer never ends a run
        if type(error).__name__ == "MisconfigurationException":
            raise
        afterwards()
        warn(f"{who}: {error}. Training goes on without this check.")
