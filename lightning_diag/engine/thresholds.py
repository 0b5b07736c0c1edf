"""The user's thresholds laid over the rules: given, expected, do this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from lightning_diag.errors import ConfigError
from lightning_diag.rules import RULES
from lightning_diag.rules.base import Rule
from lightning_diag.rules.lookup import code_of, nearest


def configured(rules: list[Rule], thresholds: Mapping[str, Mapping[str, Any]]) -> list[Rule]:
    """The rules with ``thresholds`` (code -> field -> value) laid over them.

    Raises:
        ConfigError: there is no such rule or field, or a value is no number of the kind that the field needs.
    """
    names = {cls.code: cls.name for cls in RULES} | {rule.code: rule.name for rule in rules}
    for code in thresholds:
        if code not in names:
            known = code_of(str(code), names)
            if known:
                raise ConfigError(f"thresholds are given by code: {code!r} is {known}")
            raise ConfigError(f"thresholds: there is no code {code!r}; {nearest(str(code), names)}")
    return [_overridden(rule, thresholds.get(rule.code, {})) for rule in rules]


def _overridden(rule: Rule, values: Mapping[str, Any]) -> Rule:
    kinds = {f.name: str(f.type) for f in fields(rule)}
    has = ", ".join(kinds) or "none"
    if not isinstance(values, Mapping):
        raise ConfigError(f"thresholds[{rule.code!r}] is {values!r}: expected field: value; {rule.name} has: {has}")
    for field, value in values.items():
        if field not in kinds:
            raise ConfigError(f"thresholds[{rule.code!r}]: {rule.name} has no setting {field!r}; it has: {has}")
        if not _fits(value, kinds[field]):
            wanted = "a whole number" if kinds[field] == "int" else "a number"
            raise ConfigError(
                f"{rule.code}.{field} is {value!r}: expected {wanted} of 0 or more, such as its default, {getattr(rule, field)!r}"
            )
    return replace(rule, **values) if values else rule


def _fits(value: object, kind: str) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        return False
    return kind != "int" or float(value).is_integer() or value == float("inf")
