"""What went wrong while the steps of a fit were read, stage by stage."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from dataclasses import dataclass

MAX_FAULTS = 3
"""Errors of our own in a row after which a stage is no longer observed."""
MAX_TEXT = 200
"""Characters of an error that the report shows."""


@dataclass(slots=True)
class _Stage:
    """Faults of one stage.

    Attributes:
        who: what failed first; first: how, as one line.
        steps: how many errors there were.
        row: how many of our own came one after the other; a step that is read well ends the row.
    """

    who: str
    first: str
    steps: int = 0
    row: int = 0


class Faults:
    """Counts errors, so that the report can say what they cost.

    An error of the user's extractor costs the step that it was asked about, never a later one: it may be about an odd batch.

    Attributes:
        first: the first error of the fit; None while all is well. It keeps no frame, and so no tensor, alive.
        trace: its traceback.
    """

    def __init__(self) -> None:
        self.first: Exception | None = None
        self.trace = ""
        self._told: set[str] = set()
        self._stages: dict[str, _Stage] = {}

    def note(self, stage: str, fault: Exception, *, ours: bool = True) -> None:
        """Count one error in ``stage``; ``ours`` is False for those of the user's extractor."""
        if self.first is None:
            self.first, self.trace = fault, "".join(traceback.format_exception(fault))
        _release(fault)
        text = " ".join(f"{type(fault).__name__}: {fault}".split())[:MAX_TEXT]
        found = self._stages.setdefault(stage, _Stage("capture" if ours else "the extractor", text))
        found.steps += 1
        found.row += ours

    def well(self, stage: str) -> None:
        """A step of ``stage`` was read without an error."""
        if self._stages and stage in self._stages and not self.ended(stage):
            self._stages[stage].row = 0

    def ended(self, stage: str) -> bool:
        """Whether ``stage`` is no longer observed."""
        return stage in self._stages and self._stages[stage].row >= MAX_FAULTS

    def news(self) -> Iterator[str]:
        """Sentences about the first error and about each stage that is given up, each once."""
        told = self._told
        for stage, found in self._stages.items():
            if "" not in told:
                told.add("")
                yield (
                    f"{found.who[:1].upper()}{found.who[1:]} failed in a {stage} step ({found.first}): such a step is not counted, "
                    "training goes on."
                )
            if self.ended(stage) and stage not in told:
                told.add(stage)
                yield f"Predictions and targets of {stage} are no longer read after {MAX_FAULTS} errors in a row."

    def problem(self, stage: str) -> str:
        """What happened in ``stage``; empty when nothing did."""
        found = self._stages.get(stage)
        if found is None:
            return ""
        times = "once" if found.steps == 1 else f"{found.steps} times"
        end = f"; after {MAX_FAULTS} in a row the stage was no longer read" if self.ended(stage) else ""
        return f"{found.who} failed {times}, first with {found.first}{end}"


def _release(fault: BaseException) -> None:
    """Let go of the frames of a fault, and with them of the tensors of its step."""
    link: BaseException | None = fault
    while link is not None and link.__traceback__ is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
