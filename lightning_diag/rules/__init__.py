"""The rules, one per file, and their registration."""

from __future__ import annotations

from lightning_diag.rules.base import Rule

RULES: tuple[type[Rule], ...] = ()
"""Every rule, one line each, by code."""

__all__ = ["RULES", "Rule"]
