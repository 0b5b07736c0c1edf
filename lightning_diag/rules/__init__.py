"""The rules, one per file, and their registration."""

from __future__ import annotations

from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.overfitting import Overfitting

RULES: tuple[type[Rule], ...] = (
    Overfitting,  # LD201
)
"""Every rule, one line each, by code."""

__all__ = ["RULES", "CannotTellError", "Rule"]
