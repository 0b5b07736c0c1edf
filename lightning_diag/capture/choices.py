"""What a stage remembers of its loss calls: how the steps of each combination of calls are read."""

from __future__ import annotations

from dataclasses import dataclass, field

from lightning_diag.capture.calls import LossCall
from lightning_diag.capture.candidates import Context
from lightning_diag.capture.choice import Choice, Signature, signature_of
from lightning_diag.capture.choosing import choose
from lightning_diag.capture.heads import Head
from lightning_diag.capture.hints import MARGIN, MASKED
from lightning_diag.capture.observation import LABELLED
from lightning_diag.capture.plans import Evidence, Plan
from lightning_diag.capture.reading import Rejected

MAX_SIGNATURES = 64
"""Combinations of loss calls that are remembered."""

FULL_EVERY = 16
"""Every so many steps all losses are listened for, so that one that starts later is noticed."""


MAX_LOOKS = 64
"""Combinations of loss calls that begin later in a stage and are looked at closely when they come again."""

PATIENCE = 32
"""Steps that are looked at closely while such a combination is waited for."""


class Unknown(Rejected):
    """A combination of losses that was not seen while the stage was calibrated: it is looked at when it comes again."""


@dataclass(slots=True)
class Shared:
    """What the stages learn from each other.

    Attributes:
        route: the calibrated path, with the form of its pairs.
        reversed_sites: losses that are called with the target first.
        masked_sites: unreduced losses of which a mask hides entries.
        margin_sites: losses, and what the code calls them, before which a margin is taken off the right class.
        trained: the head that training reads; other stages read the same.
        aside: heads of other tasks that training meets in turn with it.
    """

    route: Plan | None = None
    reversed_sites: frozenset[str] = frozenset()
    masked_sites: frozenset[str] = frozenset()
    margin_sites: frozenset[tuple[str, str]] = frozenset()
    trained: Head | None = None
    aside: frozenset[Head] = frozenset()


@dataclass(slots=True)
class Choices:
    """The choices of one stage.

    Attributes:
        shared: what other stages know.
        training: whether this is the training stage.
        known: by signature.
        head: what the stage counts.
        losses: names of the losses of all known steps, None while those of the next one are not known.
        heads: names of the calls that were not chosen.
        hidden: why the predictions of the last step cannot be counted though it has labels; empty where they can.
        aside: whether the last step was of another task than the one that the stage counts.
        waiting: signature that is to be looked at closely when it comes again.
    """

    shared: Shared
    training: bool
    known: dict[Signature, Choice] = field(default_factory=dict)
    head: Head | None = None
    losses: frozenset[str] | None = None
    heads: tuple[str, ...] = ()
    hidden: str = ""
    aside: bool = False
    waiting: Signature | None = None
    _patience: int = 0
    _looks: int = 0
    _trained: Head | None = None

    def forget(self) -> None:
        """Begin again: the stage is calibrated anew."""
        self.known, self.head, self.waiting = {}, None, None

    @property
    def doubtful(self) -> bool:
        """Whether some targets were all alike whenever they were looked at."""
        return any(choice.doubt for choice in self.known.values())

    @property
    def outdated(self) -> bool:
        """Whether one of several heads was chosen before training had decided."""
        return not self.training and self.shared.trained != self._trained and bool(self.heads or self.doubtful)

    @property
    def needed(self) -> frozenset[int] | None:
        """Which calls of a step are read, if it is a known one; None for a loop, and while no step is known."""
        if not self.known or any(choice.loop for choice in self.known.values()):
            return None
        return frozenset(choice.order[0] for choice in self.known.values())

    def looked(self) -> None:
        """A step was looked at closely."""
        self._patience -= 1
        if self._patience <= 0:
            self.waiting = None

    def find(self, calls: list[LossCall], evidence: Evidence, *, close: bool, settled: bool) -> Choice:
        """How to read a step with these calls.

        Args:
            calls: of the step.
            evidence: what else it left behind.
            close: whether the step is looked at closely, so that the evidence is whole.
            settled: whether what is known already and beyond doubt is kept.

        Raises:
            Rejected: when no call gives a usable pair; the text says why.
        """
        signature = signature_of(calls)
        if close and self.outdated:
            self.known, self.head = {}, None
        known = self.known.get(signature) or self._loop(signature)
        if known is None and not close:
            self._wait_for(signature)
            raise Unknown("losses that were not called together before")
        if known is None or (close and (known.doubt or not settled)):
            known = self._chosen(signature, calls, evidence, known)
        self.aside = known.aside
        self.hidden = _hidden(known)
        return known

    def _wait_for(self, signature: Signature) -> None:
        self.losses = None
        if self._looks < MAX_LOOKS:
            self._looks += 1
            self.waiting, self._patience = signature, PATIENCE

    def _loop(self, signature: Signature) -> Choice | None:
        """A loop of other length than those before."""
        loops = (choice for choice in self.known.values() if choice.loop and not choice.columns)
        if not any(set(choice.signature) == set(signature) for choice in loops):
            return None
        order = tuple(range(len(signature)))
        return Choice(signature, order, task="dense", loop=True, reason="calls of one loop, joined")

    def _chosen(self, signature: Signature, calls: list[LossCall], evidence: Evidence, before: Choice | None) -> Choice:
        shared = self.shared
        trained = None if self.training else shared.trained
        sites = shared.reversed_sites, shared.masked_sites, shared.margin_sites
        choice = choose(calls, Context(evidence.batch, evidence.visits, evidence.result, *sites, trained))
        self._trained = shared.trained
        if signature == self.waiting:
            self.waiting = None
        if before is not None and choice.doubt and before.task in LABELLED:
            return before
        shared.masked_sites |= choice.masked
        shared.margin_sites |= choice.margins
        self._settle(choice)
        if len(self.known) < MAX_SIGNATURES:
            self.known[signature] = choice
            self.losses = frozenset(name for known in self.known for name, *_ in known)
        self.heads = tuple(dict.fromkeys((*self.heads, *choice.heads)))
        return choice

    def _settle(self, choice: Choice) -> None:
        """Make it what the stage counts, or put it aside where its labels are others."""
        head = choice.head
        if head is None or head.task not in LABELLED:
            return
        set_aside = not self.training and any(head.likeness(other) for other in self.shared.aside)
        if set_aside or (self.head is not None and head.differs(self.head)):
            choice.task, choice.aside = "other", True
            choice.heads = (*choice.heads, f"{head.name or head.entry} ({head.classes} classes)")
            if self.training:
                self.shared.aside |= {head}
        elif self.head is None or not self.known:
            self.head = head
            if self.training:
                self.shared.trained = head


def _hidden(choice: Choice) -> str:
    if choice.task != "other":
        return ""
    return MASKED if choice.masked else MARGIN if choice.margin else ""
