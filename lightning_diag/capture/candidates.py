"""Loss calls of one step that may be the pair of the report, with what is known of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from lightning_diag.capture.batch import Path
from lightning_diag.capture.calls import LossCall
from lightning_diag.capture.heads import Head
from lightning_diag.capture.observation import Observation
from lightning_diag.capture.taps import Visit


@dataclass(frozen=True, slots=True)
class Origin:
    """The pass through a module that made the predictions: its name, which pass, and dimensions of its output."""

    name: str
    turn: int
    dims: int


@dataclass(slots=True)
class Candidate:
    """A readable call with what is known of it.

    Attributes:
        index: of the call in its step.
        seen: as it was read.
        leaf: entry of the batch that is the target; origin: pass that made the predictions.
        factor: in the loss that the step returned.
        one_hot: the target is one-hot and is read as classes.
        given_labels: the part of the network that made the predictions was given the target.
        doubt: the task that it would have, did its target not look made up (all one value, a mere numbering) in this step.
        likeness: to the head that training reads, see :meth:`~.heads.Head.likeness`.
    """

    index: int
    call: LossCall
    seen: Observation
    leaf: Path | None = None
    factor: float | None = None
    origin: Origin | None = None
    one_hot: bool = False
    given_labels: bool = False
    doubt: str = ""
    likeness: int = 0

    @property
    def head(self) -> Head:
        """Which head this is."""
        origin = self.origin.name if self.origin is not None else None
        name = self.call.entry.name
        return Head(self.seen.task, self.seen.num_classes, name, origin, self.call.name, self.leaf, self.index)


@dataclass(slots=True)
class Context:
    """What is known of the step besides its loss calls.

    Attributes:
        batch: its tensors by path.
        visits: passes through modules.
        result: what the step returned.
        reversed_sites, masked_sites, margin_sites, trained: see :class:`~.choices.Shared`.
    """

    batch: Mapping[Path, Tensor]
    visits: list[Visit]
    result: object
    reversed_sites: frozenset[str] = frozenset()
    masked_sites: frozenset[str] = frozenset()
    margin_sites: frozenset[tuple[str, str]] = frozenset()
    trained: Head | None = None
