"""Misuse is told before training, with the exception type of the Trainer in use."""

from __future__ import annotations

from typing import Any


def misconfiguration(trainer: Any, message: str) -> Exception:
    """Lightning's ``MisconfigurationException`` of the package that ``trainer`` comes from.

    ``lightning`` and ``pytorch_lightning`` have one each, and ``except`` clauses of users name theirs.
    """
    if type(trainer).__module__.startswith("pytorch_lightning"):
        from lightning_fabric.utilities.exceptions import (  # type: ignore[import-not-found,unused-ignore]  # optional
            MisconfigurationException,
        )
    else:
        from lightning.fabric.utilities.exceptions import MisconfigurationException
    error: Exception = MisconfigurationException(message)
    return error
