"""Misuse is told before training, with the exception type of the Trainer in use."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def misconfiguration(trainer: Any, message: str) -> Exception:
    """Lightning's ``MisconfigurationException`` of the package that ``trainer`` comes from.

    ``lightning`` and ``pytorch_lightning`` have one each, and ``except`` clauses of users name theirs.
    """
    package = "lightning_fabric" if type(trainer).__module__.startswith("pytorch_lightning") else "lightning.fabric"
    error: Exception = import_module(f"{package}.utilities.exceptions").MisconfigurationException(message)
    return error
