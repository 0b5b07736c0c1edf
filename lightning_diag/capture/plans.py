"""How a stage without a usable loss call is read: where predictions and targets lie, and in which form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from lightning_diag.capture.batch import Path, pick
from lightning_diag.capture.matching import Route
from lightning_diag.capture.observation import Observation
from lightning_diag.capture.pairs import Form
from lightning_diag.capture.taps import Visit
from lightning_diag.capture.usage import Usage


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a step a tensor lies.

    Attributes:
        where: ``batch``, ``result``, or ``args``, ``kwargs``, ``output`` of a tapped part.
        path: path inside.
        name: name of the tapped part.
        turn: which of its passes, from the first.
    """

    where: str
    path: Path
    name: str = ""
    turn: int = 0

    def find(self, evidence: Evidence) -> Tensor | None:
        """The tensor in this step; None when it is not there."""
        if self.where == "batch":
            return evidence.batch.get(self.path)
        if self.where == "result":
            return pick(evidence.result, self.path)
        own = [visit for visit in evidence.visits if visit.name == self.name]
        turn = self.turn if len(own) != 1 else 0  # a single pass is always meant
        return pick(getattr(own[turn], self.where), self.path) if turn < len(own) else None


@dataclass(slots=True)
class Evidence:
    """What a step left behind besides its loss calls.

    Attributes:
        batch: leaves of the batch by path: all while calibrating, later only those that the plan needs.
        visits: passes through tapped parts.
        result: what the step returned.
        training: whether gradients were recorded.
        usage: what the labels of the batch met, where the step was watched for that; else None.
    """

    batch: Mapping[Path, Tensor]
    visits: list[Visit]
    result: object
    training: bool
    usage: Usage | None = None


class Plan(Protocol):
    """How to read a step without its loss calls."""

    @property
    def source(self) -> str:
        """For the report."""

    @property
    def parts(self) -> frozenset[str]:
        """Names of the parts to tap; ``None`` in it never occurs, the empty name is the module's ``forward``."""

    @property
    def leaves(self) -> tuple[Path, ...]:
        """Leaves of the batch that are needed."""

    def observe(self, evidence: Evidence) -> Observation | None:
        """The pair; None when it is not there; ``Rejected`` when it does not fit."""


@dataclass(frozen=True, slots=True)
class PlacePlan:
    """Predictions at one place, targets at another."""

    preds: Place
    target: Place
    form: Form
    source: str
    head: str = ""

    @property
    def parts(self) -> frozenset[str]:
        """Names of the parts to tap."""
        return frozenset(place.name for place in self._places() if place.where not in {"batch", "result"})

    @property
    def leaves(self) -> tuple[Path, ...]:
        """Leaves of the batch that are needed."""
        return tuple(place.path for place in self._places() if place.where == "batch")

    def _places(self) -> Iterator[Place]:
        yield self.preds
        yield self.target

    def observe(self, evidence: Evidence) -> Observation | None:
        """The pair of a step."""
        preds, target = self.preds.find(evidence), self.target.find(evidence)
        if preds is None or target is None:
            return None
        seen = self.form.apply(preds, target, self.source)
        seen.head = self.head
        return seen


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """The calibrated path: the same pair as in a stage that was read by its loss call."""

    route: Route
    form: Form

    @property
    def source(self) -> str:
        """For the report."""
        return self.route.source

    @property
    def parts(self) -> frozenset[str]:
        """The one part to tap."""
        return frozenset({self.route.module})

    @property
    def leaves(self) -> tuple[Path, ...]:
        """The one leaf of the batch."""
        return (self.route.leaf,)

    def observe(self, evidence: Evidence) -> Observation | None:
        """The pair of a step."""
        preds = self.route.preds(evidence.visits)
        target = self.route.target(evidence.batch.get(self.route.leaf))
        return None if preds is None or target is None else self.form.apply(preds, target, self.source)
