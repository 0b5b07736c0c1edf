"""Which head a loss call belongs to, so that all stages read the same one."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_diag.capture.batch import Path
from lightning_diag.capture.observation import LABELLED


@dataclass(frozen=True, slots=True)
class Head:
    """What tells one head from another, whatever the stage.

    Attributes:
        task: see ``observation.TASKS``; classes: how many, None where there are none.
        entry: name of the loss function.
        module: name of the module whose output lies in the memory of the predictions; None where it is not known.
        name: what the user's code calls it, with `` #2`` behind it where a step has several of that name; may be empty.
        leaf: path of its target in the batch; None where the target is made in the step.
        index: which of the loss calls of its step.
    """

    task: str
    classes: int | None
    entry: str
    module: str | None
    name: str
    leaf: Path | None
    index: int

    def likeness(self, other: Head) -> int:
        """How sure it is that two stages mean the same head; 0 when they do not."""
        if (self.entry, self.classes) != (other.entry, other.classes) or self._targets_differ(other):
            return 0
        if self.module is not None and other.module is not None and self.module != other.module:
            return 0
        if self.module is None and other.module is None and self._called != other._called:
            return 0
        return 1 + (self.name == other.name) + (self.index == other.index)

    def differs(self, other: Head) -> bool:
        """Whether the labels of the two may not be counted in one table."""
        if not {self.task, other.task} <= LABELLED:
            return False
        if (self.task, self.classes) != (other.task, other.classes):
            return True
        return self._targets_differ(other) and self.module != other.module

    @property
    def _called(self) -> str:
        """The name without the number that tells it from others of its step: another stage may call them in another order."""
        return self.name.partition(" #")[0]

    def _targets_differ(self, other: Head) -> bool:
        return self.leaf is not None and other.leaf is not None and self.leaf != other.leaf
