"""The concerns of the observer, one part per file."""

from __future__ import annotations

from lightning_diag.callbacks.parts.ending import EndingPart
from lightning_diag.callbacks.parts.loggers import LoggerPart
from lightning_diag.callbacks.parts.output import OutputPart
from lightning_diag.callbacks.parts.stages import StagePart
from lightning_diag.callbacks.parts.timeline import TimelinePart
from lightning_diag.callbacks.run import Part


def default_parts() -> list[Part]:
    """The parts in the order of their hooks: measure, then judge and write, then hand over."""
    return [StagePart(), TimelinePart(), EndingPart(), OutputPart(), LoggerPart()]
