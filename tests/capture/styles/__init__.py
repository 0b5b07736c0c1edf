"""Small modules, one per style in which public LightningModules are written. Each knows its true pair."""

from tests.capture.styles import (
    bodies,
    custom,
    decoded,
    elements,
    losses,
    multiple,
    silent,
    unlabelled,
    unproven,
    written,
)
from tests.capture.styles.base import REGISTRY, Style

__all__ = [
    "REGISTRY",
    "Style",
    "bodies",
    "custom",
    "decoded",
    "elements",
    "losses",
    "multiple",
    "silent",
    "unlabelled",
    "unproven",
    "written",
]
